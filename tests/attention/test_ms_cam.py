"""Multi-scale channel attention."""

import pytest
import torch

from nowcast.attention.ms_cam import MultiScaleChannelAttention


def standardised(x: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """One group of all values, channels last."""
    return (x - x.mean()) / (x.var(correction=0) + 1e-5) ** 0.5 * norm.weight + norm.bias


def bottleneck(pixels: torch.Tensor, layers: torch.nn.Sequential) -> torch.Tensor:
    """(N, C) → (N, C), pixel by pixel."""
    into, first, _, back, last = layers
    hidden = torch.stack([into.weight[:, :, 0, 0] @ pixel + into.bias for pixel in pixels])
    hidden = standardised(hidden, first).clamp_min(0)
    return standardised(torch.stack([back.weight[:, :, 0, 0] @ row + back.bias for row in hidden]), last)


@torch.no_grad()
def test_it_is_the_formula_pixel_by_pixel():
    torch.manual_seed(0)
    module = MultiScaleChannelAttention(6, minimum=3)
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(2, 6, 3, 4)
    for b in range(2):
        pixels = x[b].flatten(1).T
        logits = bottleneck(pixels, module.local) + bottleneck(pixels.mean(dim=0, keepdim=True), module.context)
        expected = pixels / (1 + torch.exp(-logits))
        torch.testing.assert_close(module(x)[b].flatten(1).T, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_context_is_the_same_at_all_pixels():
    torch.manual_seed(0)
    module = MultiScaleChannelAttention(8)
    torch.nn.init.zeros_(module.local[-1].weight)
    gate = module.gate(torch.randn(2, 8, 4, 5))
    torch.testing.assert_close(gate, gate[:, :, :1, :1].expand_as(gate))
    assert gate.std() > 0.05


def test_a_single_sample_trains_with_group_norms_and_not_with_batch_norms():
    x = torch.randn(1, 8, 4, 5)
    assert MultiScaleChannelAttention(8)(x).shape == x.shape
    with pytest.raises(ValueError, match="more than 1 value"):
        MultiScaleChannelAttention(8, norm="batch")(x)
