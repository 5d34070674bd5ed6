"""ParNet's block."""

import pytest
import torch

from nowcast.attention.parnet import ParallelNetworkBlock
from nowcast.contracts import InputError


def correlate(x: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:
    """A convolution with zeros beyond the map, pixel by pixel: (C, H, W) → (C, H, W)."""
    _, height, width = x.shape
    reach = conv.kernel_size[0] // 2
    y = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            if conv.bias is not None:
                y[:, i, j] = conv.bias
            for row in range(max(i - reach, 0), min(i + reach + 1, height)):
                for column in range(max(j - reach, 0), min(j + reach + 1, width)):
                    y[:, i, j] += conv.weight[:, :, row - i + reach, column - j + reach] @ x[:, row, column]
    return y


def standardised(x: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    """By the statistics that a batch norm has gathered, (C, H, W)."""
    mean, variance, weight, bias = (
        values[:, None, None] for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (variance + 1e-5) ** 0.5 * weight + bias


def trained(**options) -> ParallelNetworkBlock:
    """A block with weights and statistics as after a training."""
    torch.manual_seed(0)
    module = ParallelNetworkBlock(4, **options)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    for _ in range(5):
        module(3 * torch.randn(3, 4, 5, 6) + 1)
    return module.eval()


@torch.no_grad()
@pytest.mark.parametrize("form", ["paper", "port"])
def test_it_is_the_formula_branch_by_branch(form):
    module = trained(form=form)
    x = torch.randn(2, 4, 3, 5)
    for b in range(2):
        skip = standardised(x[b], module.skip) if form == "paper" else x[b]
        logits = module.excite.weight[:, :, 0, 0] @ skip.mean(dim=(1, 2))
        logits = logits if form == "paper" else logits + module.excite.bias
        total = skip / (1 + torch.exp(-logits))[:, None, None]
        for conv, norm in module.branches:
            total = total + standardised(correlate(x[b], conv), norm)
        expected = total / (1 + torch.exp(-total))
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["paper", "port"])
def test_the_fused_block_gives_the_same_from_one_convolution(form):
    module = trained(form=form)
    fused = module.fuse()
    x = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(fused(x), module(x), rtol=1e-4, atol=1e-5)
    assert [type(branch) for branch in fused.branches] == [torch.nn.Conv2d]
    assert len(module.branches) == 2
    torch.testing.assert_close(fused.fuse()(x), fused(x))


def test_only_batch_norms_can_be_fused():
    with pytest.raises(InputError, match="norm='batch'"):
        ParallelNetworkBlock(8, norm="group").fuse()


def test_the_gate_learns_from_one_sample_only_with_group_norms():
    """The mean of what a batch norm has standardised is its bias, 0 at first, whatever the sample."""
    x = torch.randn(1, 8, 5, 6)
    gradients = []
    for norm in ("batch", "group"):
        module = ParallelNetworkBlock(8, norm=norm)
        module(x).sum().backward()
        gradients.append(module.excite.weight.grad.abs().max())
    assert gradients[0] < 1e-5 < gradients[1]


def test_the_ports_convolutions_have_biases():
    assert sum(weight.numel() for weight in ParallelNetworkBlock(64, form="port").parameters()) == 45_504
