"""Pyramid squeeze attention."""

import pytest
import torch

from nowcast.attention.psa import PyramidSqueezeAttention
from nowcast.contracts import InputError


def correlate(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution in groups with zeros beyond the map, pixel by pixel: (C, H, W) → (outputs, H, W)."""
    channels, height, width = x.shape
    outputs, inputs, size, _ = weight.shape
    in_a_group = outputs * inputs // channels
    y = torch.zeros(outputs, height, width)
    for c in range(outputs):
        first = c // in_a_group * inputs
        for i in range(height):
            for j in range(width):
                for row in range(max(i - size // 2, 0), min(i + size // 2 + 1, height)):
                    for column in range(max(j - size // 2, 0), min(j + size // 2 + 1, width)):
                        taps = weight[c, :, row - i + size // 2, column - j + size // 2]
                        y[c, i, j] += taps @ x[first : first + inputs, row, column]
    return y


@torch.no_grad()
def test_it_is_the_formula_branch_by_branch():
    torch.manual_seed(0)
    module = PyramidSqueezeAttention(16)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    into, _, back, _ = module.excite
    x = torch.randn(2, 16, 3, 4)
    for b in range(2):
        maps = [correlate(x[b], conv.weight) for conv in module.branches]
        gates = []
        for one in maps:
            hidden = (into.weight @ one.mean(dim=(1, 2)) + into.bias).clamp_min(0)
            gates.append(1 / (1 + torch.exp(-(back.weight @ hidden + back.bias))))
        odds = [torch.exp(gate) for gate in gates]
        parts = [odd[:, None, None] * one / sum(odds)[:, None, None] for odd, one in zip(odds, maps, strict=True)]
        expected = torch.cat(parts[::-1])  # the largest kernel first
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-4)


def test_all_weights_are_registered_and_kernels_have_the_papers_groups():
    """A popular port keeps its convolutions in a list, where nothing trains them."""
    module = PyramidSqueezeAttention(64, minimum=1)
    assert sum(weight.numel() for weight in module.parameters()) == 27_121
    assert [(conv.kernel_size[0], conv.groups) for conv in module.branches] == [
        (3, 1),
        (5, 4),
        (7, 8),
        (9, 16),
    ]


@torch.no_grad()
def test_weights_of_a_rank_sum_to_one_over_the_kernels():
    """Without a preference each kernel has 1/S."""
    torch.manual_seed(0)
    module = PyramidSqueezeAttention(6)
    for weight in module.excite.parameters():
        weight.zero_()
    x = torch.randn(2, 6, 4, 5)
    expected = torch.cat([branch(x) for branch in reversed(module.branches)], dim=1) / len(module.branches)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("channels", "count"), [(6, 3), (10, 2), (9, 3), (24, 4)])
def test_the_number_of_kernels_suits_the_channels(channels, count):
    assert len(PyramidSqueezeAttention(channels).branches) == count


def test_what_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="would do: 2, 4, 8"):
        PyramidSqueezeAttention(8, kernels=(3, 5, 7))
    with pytest.raises(InputError, match="7"):
        PyramidSqueezeAttention(7)
    with pytest.raises(InputError, match="odd"):
        PyramidSqueezeAttention(8, kernels=(3, 4))
