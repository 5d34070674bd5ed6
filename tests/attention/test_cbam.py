"""Convolutional block attention module."""

import pytest
import torch

from nowcast.attention.cbam import ConvolutionalBlockAttention


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, 5, 7)


def with_order(order: str, seed: int = 1) -> ConvolutionalBlockAttention:
    torch.manual_seed(seed)
    return ConvolutionalBlockAttention(6, kernel=3, order=order).eval()


def channel_gate(module: ConvolutionalBlockAttention, x: torch.Tensor) -> torch.Tensor:
    """σ(MLP(mean) + MLP(max)), sample by sample and channel by channel."""
    w1, b1, w2, b2 = module.gates["channel"].parameters()
    gates = torch.empty(*x.shape[:2], 1, 1)
    for b in range(len(x)):
        logits = 0
        for pooled in (torch.stack([m.mean() for m in x[b]]), torch.stack([m.max() for m in x[b]])):
            logits = logits + w2 @ (w1 @ pooled + b1).clamp_min(0) + b2
        gates[b, :, 0, 0] = 1 / (1 + torch.exp(-logits))
    return gates


def spatial_gate(module: ConvolutionalBlockAttention, x: torch.Tensor) -> torch.Tensor:
    """σ of a 3×3 sum over [max; mean] with zeros outside; an untrained batch norm divides by √(1+ε)."""
    weight = module.gates["spatial"].conv.weight[0]
    (batch, _, height, width) = x.shape
    gates = torch.empty(batch, 1, height, width)
    for b, i, j in torch.cartesian_prod(torch.arange(batch), torch.arange(height), torch.arange(width)):
        total = 0.0
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                if 0 <= i + di < height and 0 <= j + dj < width:
                    column = x[b, :, i + di, j + dj]
                    total += weight[0, di + 1, dj + 1] * column.max() + weight[1, di + 1, dj + 1] * column.mean()
        gates[b, 0, i, j] = torch.sigmoid(total / (1 + 1e-5) ** 0.5)
    return gates


@torch.no_grad()
def test_the_gates_are_applied_in_the_order_asked_for(x):
    module = with_order("channel_spatial")
    first = x * channel_gate(module, x)
    torch.testing.assert_close(module(x), first * spatial_gate(module, first))
    module = with_order("spatial_channel")
    first = x * spatial_gate(module, x)
    torch.testing.assert_close(module(x), first * channel_gate(module, first))
    module = with_order("parallel")
    torch.testing.assert_close(module(x), x * channel_gate(module, x) * spatial_gate(module, x))


@torch.no_grad()
def test_either_gate_works_alone(x):
    channel, spatial = with_order("channel"), with_order("spatial")
    torch.testing.assert_close(channel(x), x * channel_gate(channel, x))
    torch.testing.assert_close(spatial(x), x * spatial_gate(spatial, x))


@torch.no_grad()
def test_zero_weights_quarter_the_signal(x):
    module = ConvolutionalBlockAttention(6)
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(module(x), x / 4)


@torch.no_grad()
def test_log_sum_exp_pooling_of_n_equal_values_adds_log_n(x):
    module = ConvolutionalBlockAttention(6, order="channel", pools=("lse",), bias=False)
    flat = x.amax(dim=(2, 3), keepdim=True).expand_as(x)
    w1, w2 = module.gates["channel"].parameters()
    pooled = flat[:, :, 0, 0] + torch.log(torch.tensor(35.0))
    gate = torch.sigmoid((pooled @ w1.T).clamp_min(0) @ w2.T)
    torch.testing.assert_close(module(flat), flat * gate[..., None, None])


def test_weights_fit_whatever_the_order():
    assert list(with_order("spatial_channel").state_dict()) == list(with_order("channel_spatial").state_dict())
