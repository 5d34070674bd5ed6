"""Global second-order pooling."""

import pytest
import torch

from nowcast.attention.gsop import GlobalSecondOrderPooling
from nowcast.contracts import InputError


def standardised(x: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """One group of all values, channels first."""
    shape = (-1, *[1] * (x.ndim - 1))
    standard = (x - x.mean()) / (x.var(correction=0) + 1e-5) ** 0.5
    return standard * norm.weight.view(shape) + norm.bias.view(shape)


def reduced(pixels: torch.Tensor, conv: torch.nn.Conv2d, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """(C, N) → (d, N), pixel by pixel."""
    columns = [conv.weight[:, :, 0, 0] @ pixel.clamp_min(0) + conv.bias for pixel in pixels.T]
    return standardised(torch.stack(columns, dim=1), norm)


def gates(matrix: torch.Tensor, layers: torch.nn.Sequential) -> torch.Tensor:
    """Row by row of a square matrix, four products each."""
    norm, rows, between, last, _ = layers
    matrix = standardised(matrix, norm)
    products = []
    for n, row in enumerate(matrix):
        for k in range(4 * n, 4 * n + 4):
            products.append(rows.weight[k, 0, :, 0] @ row + rows.bias[k])
    logits = last.weight[:, :, 0, 0] @ between(torch.stack(products)) + last.bias
    return 1 / (1 + torch.exp(-logits))


def filled(**options) -> GlobalSecondOrderPooling:
    torch.manual_seed(0)
    module = GlobalSecondOrderPooling(4, **options)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return module


@torch.no_grad()
def test_channel_gates_are_the_formula():
    module = filled(width=3)
    _, conv, norm, _ = module.channel.reduce
    x = torch.randn(2, 4, 3, 5)
    for b in range(2):
        rows = reduced(x[b].flatten(1), conv, norm).clamp_min(0)
        matrix = torch.zeros(3, 3)
        for i in range(3):
            for j in range(3):
                matrix[i, j] = ((rows[i] - rows[i].mean()) * (rows[j] - rows[j].mean())).sum() / 15
        expected = x[b] * gates(matrix, module.channel.excite)[:, None, None]
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["paper", "code"])
def test_gates_of_cells_are_the_formula(form):
    """On a map of 8 × 8 cells are pixels. The code takes 64 for the number of channels in the covariance."""
    module = filled(variant="spatial", width=3, form=form)
    _, conv, norm, _ = module.position.reduce
    x = torch.randn(1, 4, 8, 8)
    rows = reduced(x[0].flatten(1), conv, norm).T
    count = 3 if form == "paper" else 64
    matrix = torch.zeros(64, 64)
    for i in range(64):
        for j in range(64):
            matrix[i, j] = rows[i] @ rows[j] / count - rows[i].sum() * rows[j].sum() / count**2
    expected = x[0] * gates(matrix, module.position.excite).view(8, 8)
    expected = expected if form == "paper" else expected.clamp_min(0)
    torch.testing.assert_close(module(x)[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["paper", "code"])
def test_cells_are_interpolated_or_as_in_the_code_repeated(form):
    module = filled(variant="spatial", form=form)
    x = torch.randn(1, 4, 8, 8)
    cells = module.position(x)[0, 0]
    gate = module.position(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))[0, 0]
    if form == "code":
        expected = cells[:-1, :-1]
    else:  # a quarter of the way to the next cell
        rows = 3 / 4 * cells[:-1] + 1 / 4 * cells[1:]
        expected = 3 / 4 * rows[:, :-1] + 1 / 4 * rows[:, 1:]
    torch.testing.assert_close(gate[1:-1:2, 1:-1:2], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["paper", "code"])
def test_both_adds_the_gated_maps_and_max_takes_the_larger(form):
    x = torch.randn(2, 4, 5, 6)
    both, largest = (filled(variant=variant, form=form) for variant in ("both", "max"))
    by_channel, by_place = x * both.channel(x), x * both.position(x)
    by_place = by_place.clamp_min(0) if form == "code" else by_place
    torch.testing.assert_close(both(x), by_channel + by_place)
    torch.testing.assert_close(largest(x), torch.maximum(by_channel, by_place))


@torch.no_grad()
def test_a_stride_looks_at_every_other_pixel():
    x = torch.randn(1, 4, 6, 7)
    wide, strided = filled(), filled(stride=2)
    torch.testing.assert_close(strided.channel(x), wide.channel(x[..., ::2, ::2]))


def test_the_published_numbers_of_weights_come_out():
    def count(**options) -> int:
        return sum(weight.numel() for weight in GlobalSecondOrderPooling(64, **options).parameters())

    assert count(width=32) == 14_688
    assert count(width=32, variant="spatial") == 35_360
    assert count(width=128, variant="spatial") == 41_792
    assert count(width=32, variant="both") == count(width=32, variant="max") == 50_048


def test_an_empty_width_is_refused():
    with pytest.raises(InputError, match="1 or more"):
        GlobalSecondOrderPooling(8, width=0)
