"""Axial attention along rows, along columns, and both."""

import pytest
import torch
from einops import rearrange

from nowcast import attention
from nowcast.attention._tokens import sinusoids
from nowcast.attention.axial import AxialAttention
from nowcast.attention.axial_col import ColumnAttention
from nowcast.attention.axial_row import RowAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended


def along_rows(module: torch.nn.Module, x: torch.Tensor, code: torch.Tensor | float = 0.0) -> torch.Tensor:
    """What attention along rows adds to one sample (C, H, W), row by row and head by head."""
    rows = []
    for row, placed in zip(x.unbind(1), (x + code).unbind(1), strict=True):
        queries, keys = module.query(placed.T), module.key(placed.T)
        heads = [
            attended(q, k, v)
            for q, k, v in zip(
                *(p.chunk(module.heads, dim=1) for p in (queries, keys, module.value(row.T))), strict=True
            )
        ]
        rows.append(module.gamma * torch.cat(heads, dim=1).T)
    return torch.stack(rows, dim=1)


def along_columns(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return along_rows(module, x.mT).mT


def active(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its γ set to numbers that are not zero."""
    for name, weight in module.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(weight, 0.5, 1.0)
    return module


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 3])
def test_each_is_the_formula_line_by_line(heads):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 2, 3)
    row, column = (active(one(6, reduction=2, heads=heads)) for one in (RowAttention, ColumnAttention))
    for sample, by_row, by_column in zip(x, row(x), column(x), strict=True):
        torch.testing.assert_close(by_row, sample + along_rows(row, sample))
        torch.testing.assert_close(by_column, sample + along_columns(column, sample))


@torch.no_grad()
def test_lines_do_not_see_each_other():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    other = x.clone()
    other[..., 1, 2] += 1
    row, column = (active(one(8)) for one in (RowAttention, ColumnAttention))
    changed = [(module(other) != module(x)).any(dim=1)[0] for module in (row, column)]
    assert changed[0].nonzero()[:, 0].unique().tolist() == [1]
    assert changed[0][1].all()
    assert changed[1].nonzero()[:, 1].unique().tolist() == [2]
    assert changed[1][:, 2].all()


@torch.no_grad()
def test_positions_enter_queries_and_keys_but_not_values():
    torch.manual_seed(0)
    module, x = active(RowAttention(6, reduction=2, positions="sinusoidal")), torch.randn(1, 6, 2, 3)
    code = rearrange(sinusoids(x), "(h w) c -> c h w", h=2)
    torch.testing.assert_close(module(x)[0], x[0] + along_rows(module, x[0], code))


@torch.no_grad()
def test_the_compositions_are_those_of_their_parts():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 4)
    module = active(AxialAttention(8))
    row, col = module.row, module.col
    for order, doubled, expected in (
        ("sum", False, row(x) + col(x) - x),
        ("sum", True, row(x) + col(x)),
        ("row_col", False, col(row(x))),
        ("col_row", False, row(col(x))),
    ):
        module.order, module.doubled = order, doubled
        torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_a_chain_of_both_names_is_row_col():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 4)
    chain = active(attention.create(["axial_row", "axial_col"], 8))
    module = AxialAttention(8, order="row_col")
    for target, source in zip(module.parameters(), chain.parameters(), strict=True):
        target.copy_(source)
    assert torch.equal(module(x), chain(x))


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "reached"),
    [
        ({"order": "sum"}, 3 + 4 - 1),
        ({"order": "sum", "recurrence": 2}, 3 * 4),
        ({"order": "row_col"}, 3 * 4),
        ({"order": "col_row"}, 3 * 4),
    ],
)
def test_a_sum_reaches_a_cross_in_one_pass_and_a_sequence_the_whole_map(options, reached):
    torch.manual_seed(0)
    module, x = active(AxialAttention(8, **options)).double(), torch.randn(1, 8, 3, 4).double()
    other = x.clone()
    other[0, :, 1, 1] += 1
    assert ((module(other) - module(x)).abs().amax(dim=1) > 1e-9).sum() == reached


@pytest.mark.parametrize("name", ["axial_row", "axial_col", "axial"])
def test_it_is_the_identity_at_first(name):
    x = torch.randn(2, 16, 4, 3)
    assert torch.equal(attention.create(name, 16)(x), x)


def test_a_second_pass_has_no_weights_of_its_own_and_no_pass_is_refused():
    assert len(list(AxialAttention(8, recurrence=3).parameters())) == 12
    with pytest.raises(InputError, match="recurrence"):
        AxialAttention(8, recurrence=0)


def test_heads_share_narrow_queries_evenly():
    module = RowAttention(24, heads=4, reduction=24)
    assert module.query.out_features == 4
    with pytest.raises(InputError, match="heads"):
        RowAttention(24, heads=5)
