"""Axial attention of the package axial-attention."""

import pytest
import torch

from nowcast.attention.axial_package import PackagedAxialAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended


def along(attention: torch.nn.Module, line: torch.Tensor) -> torch.Tensor:
    """Multi-head attention of one line, (L, C) → (L, C), head by head."""
    keys, values = attention.to_kv(line).chunk(2, dim=1)
    parts = (part.chunk(attention.heads, dim=1) for part in (attention.to_q(line), keys, values))
    heads = [attended(q, k, v, q.shape[1] ** -0.5) for q, k, v in zip(*parts, strict=True)]
    return attention.to_out(torch.cat(heads, dim=1))


def columns_and_rows(module: PackagedAxialAttention, x: torch.Tensor, axis: int) -> torch.Tensor:
    """Attention of one sample (C, H, W) along axis 1, the first of the package, or axis 2."""
    attention = module.attend.axial_attentions[axis - 1].fn
    lines = [along(attention, line.T).T for line in x.unbind(3 - axis)]
    return torch.stack(lines, dim=3 - axis)


@torch.no_grad()
@pytest.mark.parametrize("head_width", [None, 5])
def test_it_is_the_formula_line_by_line(head_width):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 2, 3)
    module = PackagedAxialAttention(6, heads=2, head_width=head_width)
    expected = torch.stack([columns_and_rows(module, s, 1) + columns_and_rows(module, s, 2) for s in x])
    torch.testing.assert_close(module(x), expected)
    module = PackagedAxialAttention(6, heads=2, head_width=head_width, order="sequence")
    expected = torch.stack([columns_and_rows(module, columns_and_rows(module, s, 1), 2) for s in x])
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_sequences_are_attended_to_along_time_too():
    """With weights that let time alone through, a pixel depends on its own past and future and on nothing else."""
    torch.manual_seed(0)
    module, x = PackagedAxialAttention(8, frames=True).eval(), torch.randn(1, 3, 8, 4, 5)
    for along_axis in module.attend.axial_attentions[1:]:
        along_axis.fn.to_out.weight.zero_()
    other = x.clone()
    other[0, 1, :, 2, 3] += 1
    changed = (module(other) != module(x)).any(dim=2)[0]
    assert changed[:, 2, 3].all()
    assert changed.sum() == 3


@torch.no_grad()
def test_positions_of_the_learnt_size_are_the_packages_and_others_are_between_them():
    torch.manual_seed(0)
    module, x = PackagedAxialAttention(8, size=(3, 4)), torch.randn(1, 8, 3, 4)
    rows, columns = module.positions.param_0[0, :, :, 0], module.positions.param_1[0, :, 0]
    torch.testing.assert_close(module(x), module.attend(x + rows[..., None] + columns[:, None]))
    codes = module.positions(torch.zeros(1, 8, 6, 4))
    # A map of twice the rows has its second row a quarter of the way from the first to the second learnt one.
    expected = (0.75 * rows[:, 0] + 0.25 * rows[:, 1])[:, None] + columns
    torch.testing.assert_close(codes[0, :, 1], expected)


@torch.no_grad()
def test_without_positions_rows_may_be_permuted_and_with_them_not():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    for size, same in ((None, True), ((3, 4), False)):
        module = PackagedAxialAttention(8, size=size)
        assert torch.allclose(module(x.flip(2)), module(x).flip(2), atol=1e-5) is same


def test_published_numbers_of_weights_come_out():
    def count(**options) -> int:
        return sum(weight.numel() for weight in PackagedAxialAttention(64, **options).parameters())

    assert count() == count(order="sequence") == 32_896
    assert count(frames=True) == 49_344


def test_options_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="heads"):
        PackagedAxialAttention(6, heads=4)
    with pytest.raises(InputError, match="size"):
        PackagedAxialAttention(6, size=(0, 4))
