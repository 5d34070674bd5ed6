"""Bottleneck attention module."""

import pytest
import torch

from nowcast.attention.bam import BottleneckAttention


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, 5, 7)


def randomised(**options) -> BottleneckAttention:
    """Eval mode, with norms that are not near the identity."""
    torch.manual_seed(1)
    module = BottleneckAttention(6, **options).eval()
    for key, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point():
            torch.nn.init.uniform_(values, 0.5 if "var" in key else -1, 1)
    return module


def normed(values: torch.Tensor, layer: torch.nn.BatchNorm2d) -> torch.Tensor:
    """Batch norm of one position's channels by its running statistics."""
    return (values - layer.running_mean) / (layer.running_var + 1e-5).sqrt() * layer.weight + layer.bias


def channel_logits(module: BottleneckAttention, sample: torch.Tensor) -> torch.Tensor:
    first, norm, _, last = module.channel
    means = torch.stack([plane.mean() for plane in sample])
    hidden = normed(first.weight[:, :, 0, 0] @ means + first.bias, norm).clamp_min(0)
    return last.weight[:, :, 0, 0] @ hidden + last.bias


def spatial_logits(module: BottleneckAttention, sample: torch.Tensor, dilation: int) -> torch.Tensor:
    """Position by position: a convolution is a sum over the taps that lie on the map."""
    (_, height, width), field = sample.shape, sample
    for conv, norm in zip(module.spatial[::3], [*module.spatial[1::3], None], strict=True):
        reach = conv.kernel_size[0] // 2
        out = torch.empty(conv.out_channels, height, width)
        for i in range(height):
            for j in range(width):
                value = conv.bias.clone()
                for di in range(-reach, reach + 1):
                    for dj in range(-reach, reach + 1):
                        row, column = i + dilation * di, j + dilation * dj
                        if 0 <= row < height and 0 <= column < width:
                            value += conv.weight[:, :, di + reach, dj + reach] @ field[:, row, column]
                out[:, i, j] = value if norm is None else normed(value, norm).clamp_min(0)
        field = out
    return field[0]


@torch.no_grad()
@pytest.mark.parametrize("combine", ["sum", "product"])
def test_the_gate_is_one_sigmoid_of_both_branches_combined(x, combine):
    module = randomised(norm="batch", dilation=2, combine=combine)
    expected = torch.empty_like(x)
    for b in range(2):
        channel, spatial = channel_logits(module, x[b]), spatial_logits(module, x[b], dilation=2)
        both = (channel[:, None, None], spatial[None])
        logits = both[0] + both[1] if combine == "sum" else both[0] * both[1]
        expected[b] = x[b] * (1 + 1 / (1 + torch.exp(-logits)))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_zero_weights_raise_the_signal_by_half(x):
    module = BottleneckAttention(6)
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(module(x), 1.5 * x)


@torch.no_grad()
def test_all_channels_share_one_spatial_map(x):
    """Popular copies end in C maps. Where M_c is zero, y / x is then not the same in every channel."""
    module = randomised()
    for weight in module.channel.parameters():
        torch.nn.init.zeros_(weight)
    gate = module(x) / x
    torch.testing.assert_close(gate, gate[:, :1].expand_as(gate))
    assert gate[0, 0].std() > 0.01
