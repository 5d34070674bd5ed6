"""S²-MLPv2."""

import math

import pytest
import torch

from nowcast.attention.s2_mlp_v2 import SpatialShiftSplitAttention

# Where each quarter of the channels comes from, as steps in rows and columns.
FIRST = ((-1, 0), (1, 0), (0, -1), (0, 1))
SECOND = ((0, -1), (0, 1), (-1, 0), (1, 0))


def built(channels: int, **options: object) -> SpatialShiftSplitAttention:
    torch.manual_seed(0)
    module = SpatialShiftSplitAttention(channels, **options).double()
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    return module


def affine(layer: torch.nn.Conv2d, pixel: torch.Tensor) -> torch.Tensor:
    return layer.weight[:, :, 0, 0] @ pixel + layer.bias


def moved(x: torch.Tensor, steps: tuple[tuple[int, int], ...], border: str) -> torch.Tensor:
    """One sample (C, H, W), value by value."""
    channels, height, width = x.shape
    y = torch.zeros_like(x)
    bounds = [0, channels // 4, channels // 2, channels * 3 // 4, channels]
    for (down, right), start, stop in zip(steps, bounds, bounds[1:], strict=False):
        for i in range(height):
            for j in range(width):
                a, b = i + down, j + right
                if border == "smear" and (down, right) in ((-1, 0), (0, -1)):
                    a, b = (0, j) if down else (i, 0)
                inside = 0 <= a < height and 0 <= b < width
                y[start:stop, i, j] = x[start:stop, a, b] if inside else x[start:stop, i, j]
    return y


@torch.no_grad()
@pytest.mark.parametrize("channels", [4, 6])
@pytest.mark.parametrize("pool", ["mean", "sum"])
@pytest.mark.parametrize("border", ["keep", "smear"])
@pytest.mark.parametrize(("height", "width"), [(3, 4), (1, 2)])
def test_it_is_the_formula_value_by_value(channels, pool, border, height, width):
    module = built(channels, pool=pool, border=border)
    x = torch.randn(2, channels, height, width, dtype=torch.float64)
    for b in range(2):
        wide = torch.stack([affine(module.widen, pixel) for pixel in x[b].flatten(1).T], dim=1)
        first, second, third = wide.unflatten(1, (height, width)).split(channels)
        parts = [moved(first, FIRST, border), moved(second, SECOND, border), third]
        pooled = sum(part.sum(dim=(1, 2)) for part in parts)
        if pool == "mean":
            pooled = pooled / (height * width)
        narrow, _, again = module.weigh
        hidden = narrow.weight @ pooled
        logits = again.weight @ (hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)
        shares = logits.reshape(3, channels).exp()
        shares = shares / shares.sum(dim=0)
        total = sum(share[:, None, None] * part for share, part in zip(shares, parts, strict=True))
        expected = torch.stack([affine(module.project, pixel) for pixel in total.flatten(1).T], dim=1)
        torch.testing.assert_close(module(x)[b].flatten(1), expected)


@torch.no_grad()
def test_one_call_sees_no_further_than_one_pixel():
    """A copy of a slice onto an overlapping one, as in popular ports, carries the first row through the map."""
    module = built(8)
    module.weigh[2].weight.zero_()  # else all pixels meet in the pooled sum
    x = torch.randn(1, 8, 7, 7, dtype=torch.float64)
    other = x.clone()
    other[:, :, 0, 0] += 1
    changed = (module(x) - module(other)).abs().amax(dim=(0, 1)) > 1e-12
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[0, 0] = expected[0, 1] = expected[1, 0] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_shares_do_not_depend_on_the_size_of_the_map_unless_pooled_by_a_sum():
    for pool, alike in (("mean", True), ("sum", False)):
        module = built(4, pool=pool)
        pixel = torch.randn(1, 4, 1, 1, dtype=torch.float64)
        small, large = (module(pixel.expand(1, 4, side, side))[..., 0, 0] for side in (2, 8))
        assert torch.allclose(small, large) is alike


def test_the_published_weights_come_out_in_order():
    sizes = [weight.numel() for weight in SpatialShiftSplitAttention(64).parameters()]
    assert sizes == [3 * 64**2, 192, 64**2, 64, 64**2, 3 * 64**2]
    assert sum(sizes) == 33_024
