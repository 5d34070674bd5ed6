"""Residual attention module."""

import math

import pytest
import torch

from nowcast.attention.residual_attention import ResidualAttention, ResidualUnit, activate
from nowcast.contracts import InputError


def with_idle_units(**options) -> ResidualAttention:
    """Every residual unit is the identity, so that only pools, steps up, skips and the mask are left."""
    torch.manual_seed(0)
    module = ResidualAttention(4, **options).eval()
    for unit in module.modules():
        if isinstance(unit, ResidualUnit):
            torch.nn.init.zeros_(unit.layers[-1].weight)
    return module


def pooled(plane: torch.Tensor) -> torch.Tensor:
    """The greatest of up to 3×3 pixels around every second one."""
    height, width = plane.shape
    return torch.stack(
        [
            torch.stack([plane[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max() for j in range(0, width, 2)])
            for i in range(0, height, 2)
        ]
    )


def stretched(plane: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear, with the outer pixels in place."""
    out = torch.empty(height, width)
    for i in range(height):
        for j in range(width):
            y = i * (plane.shape[0] - 1) / max(height - 1, 1)
            x = j * (plane.shape[1] - 1) / max(width - 1, 1)
            top, left = math.floor(y), math.floor(x)
            below, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
            upper = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
            lower = plane[below, left] * (1 - x + left) + plane[below, right] * (x - left)
            out[i, j] = upper * (1 - y + top) + lower * (y - top)
    return out


def hourglass(plane: torch.Tensor, pools: int) -> torch.Tensor:
    """Down, further down, back up, and the skip added before the next step up."""
    low = pooled(plane)
    if pools > 1:
        low = hourglass(low, pools - 1) + low
    return stretched(low, *plane.shape)


@torch.no_grad()
@pytest.mark.parametrize(("pools", "size"), [(1, (5, 6)), (2, (5, 6)), (3, (9, 4)), (3, (1, 2))])
def test_the_mask_is_pooled_and_brought_back_by_way_of_the_skips(pools, size):
    module = with_idle_units(pools=pools, norm="batch")
    x = torch.randn(2, 4, *size)
    expected = torch.empty_like(x)
    first, second = module.logits[2], module.logits[5]
    for b in range(2):
        y = torch.stack([hourglass(plane, pools) for plane in x[b]]) / (1 + 1e-5) ** 0.5
        hidden = torch.einsum("oi, ihw -> ohw", first.weight[..., 0, 0], y.clamp_min(0)) / (1 + 1e-5) ** 0.5
        logits = torch.einsum("oi, ihw -> ohw", second.weight[..., 0, 0], hidden.clamp_min(0))
        expected[b] = x[b] * (1 + 1 / (1 + torch.exp(-logits)))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_a_unit_adds_a_bottleneck_that_norms_before_each_convolution():
    torch.manual_seed(0)
    unit = ResidualUnit(4, 3, "batch").eval()
    for values in (*unit.parameters(), *unit.buffers()):
        if values.is_floating_point():
            torch.nn.init.uniform_(values, 0.2, 1)
    x = torch.randn(4, 3, 5)
    norm1, _, conv1, norm2, _, conv2, norm3, _, conv3 = unit.layers

    def active(field: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
        turned = field.movedim(0, -1)
        standard = (turned - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        return (standard * norm.weight + norm.bias).clamp_min(0).movedim(-1, 0)

    y = active(torch.einsum("oi, ihw -> ohw", conv1.weight[..., 0, 0], active(x, norm1)), norm2)
    around = torch.zeros(3, 5, 7)
    around[:, 1:-1, 1:-1] = y
    z = sum(
        torch.einsum("oi, ihw -> ohw", conv2.weight[..., i, j], around[:, i : i + 3, j : j + 5])
        for i in range(3)
        for j in range(3)
    )
    expected = x + torch.einsum("oi, ihw -> ohw", conv3.weight[..., 0, 0], active(z, norm3))
    torch.testing.assert_close(unit(x[None])[0], expected)


@torch.no_grad()
def test_the_trunk_sees_the_first_units_and_the_last_units_see_the_masked_trunk():
    module = ResidualAttention(4, pools=1, trunk=2).eval()
    x = torch.randn(2, 4, 3, 5)
    y = module.first(x)
    expected = module.last((1 + module.gate(y)) * module.trunk[1](module.trunk[0](y)))
    torch.testing.assert_close(module(x), expected)
    bare = ResidualAttention(4, pools=1, outer=0, trunk=2).eval()
    torch.testing.assert_close(bare(x), (1 + bare.gate(x)) * bare.trunk(x))


@torch.no_grad()
def test_a_mask_of_zero_logits_raises_the_trunk_by_half():
    """1 + M, not M: a copy without the 1 would halve it."""
    module = with_idle_units()
    torch.nn.init.zeros_(module.logits[-1].weight)
    x = torch.randn(2, 4, 7, 5)
    torch.testing.assert_close(module(x), 1.5 * x)


def test_the_three_masks_are_those_of_the_paper():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(activate(logits, "mixed"), 1 / (1 + torch.exp(-logits)))
    channel, spatial = torch.empty_like(logits), torch.empty_like(logits)
    for b in range(2):
        for i in range(3):
            for j in range(5):
                channel[b, :, i, j] = logits[b, :, i, j] / (logits[b, :, i, j] ** 2).sum() ** 0.5
        for c in range(4):
            plane = logits[b, c]
            spatial[b, c] = (plane - plane.mean()) / (((plane - plane.mean()) ** 2).mean() + 1e-5) ** 0.5
    torch.testing.assert_close(activate(logits, "channel"), channel)
    torch.testing.assert_close(activate(logits, "spatial"), 1 / (1 + torch.exp(-spatial)))


@pytest.mark.parametrize("mask", ["channel", "spatial"])
def test_a_dry_map_under_any_mask_has_finite_gradients(mask):
    x = torch.zeros(1, 8, 5, 3, requires_grad=True)
    ResidualAttention(8, pools=1, mask=mask)(x).square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("option", ["pools", "trunk", "inner"])
def test_a_hourglass_without_pools_and_a_branch_without_units_are_refused(option):
    with pytest.raises(InputError, match="the least"):
        ResidualAttention(4, **{option: 0})
