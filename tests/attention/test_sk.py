"""Selective kernels."""

import pytest
import torch

from nowcast.attention.sk import SelectiveKernel
from nowcast.contracts import InputError


def correlate(x: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """A convolution in groups with zeros beyond the map, pixel by pixel: (C, H, W) → (C, H, W)."""
    channels, height, width = x.shape
    inputs, size = weight.shape[1:3]
    y = torch.zeros_like(x)
    for c in range(channels):
        first = c // inputs * inputs  # a group has as many outputs as inputs
        for i in range(height):
            for j in range(width):
                for di in range(size):
                    for dj in range(size):
                        row = i + (di - size // 2) * dilation
                        column = j + (dj - size // 2) * dilation
                        if 0 <= row < height and 0 <= column < width:
                            y[c, i, j] += weight[c, :, di, dj] @ x[first : first + inputs, row, column]
    return y


def standardised(values: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """One group of all values, channels first."""
    standard = (values - values.mean()) / (values.var(correction=0) + 1e-5) ** 0.5
    shape = (-1, *[1] * (values.ndim - 1))
    return standard * norm.weight.view(shape) + norm.bias.view(shape)


@torch.no_grad()
@pytest.mark.parametrize("kernels", ["dilated", "plain"])
def test_it_is_the_formula_branch_by_branch(kernels):
    torch.manual_seed(0)
    module = SelectiveKernel(4, branches=3, kernels=kernels, groups=2, minimum=5)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(2, 4, 5, 4)
    reduce, norm, _, select = module.choose
    for b in range(2):
        maps = []
        for m, (conv, its_norm, _) in enumerate(module.branches):
            dilation = 1 + m if kernels == "dilated" else 1
            maps.append(standardised(correlate(x[b], conv.weight, dilation), its_norm).clamp_min(0))
        found = sum(one.mean(dim=(1, 2)) for one in maps)
        z = standardised(reduce.weight[:, :, 0, 0] @ found, norm).clamp_min(0)
        # The rows of the last layer are those of the first branch, then of the second, …
        odds = [torch.exp(select.weight[4 * m : 4 * m + 4, :, 0, 0] @ z) for m in range(3)]
        expected = sum(odd[:, None, None] * one for odd, one in zip(odds, maps, strict=True))
        torch.testing.assert_close(module(x)[b], expected / sum(odds)[:, None, None], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_equal_branches_leave_nothing_to_choose():
    """Weights of a channel sum to one, so that equal maps come out as they are."""
    torch.manual_seed(0)
    module = SelectiveKernel(6, kernels="dilated")
    for conv, _, _ in module.branches:
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = torch.randn(conv.weight.shape[:2], generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(module(x), module.branches[0](x))


@torch.no_grad()
def test_one_sample_comes_out_as_it_does_in_a_batch():
    """Copies squeeze the batch away when it has one sample."""
    module = SelectiveKernel(8).train()
    x = torch.randn(3, 8, 4, 5)
    torch.testing.assert_close(module(x[:1]), module(x)[:1])
    assert module(x[:1, :, :1, :1]).shape == (1, 8, 1, 1)


def test_it_reaches_as_far_as_its_widest_kernel():
    for branches in (2, 3):
        for kernels in ("dilated", "plain"):
            convs = [branch[0] for branch in SelectiveKernel(4, branches=branches, kernels=kernels).branches]
            assert [(conv.kernel_size[0] - 1) * conv.dilation[0] + 1 for conv in convs] == [3, 5, 7][:branches]


def test_one_branch_and_groups_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="2 or more"):
        SelectiveKernel(8, branches=1)
    with pytest.raises(InputError, match="1, 2, 4, 8 would do"):
        SelectiveKernel(8, groups=3)
