"""Parallel multi-scale attention."""

import pytest
import torch
from torch import nn

from nowcast.attention.muse import ParallelMultiScaleAttention
from nowcast.contracts import InputError


def built(**options: object) -> ParallelMultiScaleAttention:
    torch.manual_seed(0)
    module = ParallelMultiScaleAttention(6, heads=2, **options).double()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.6)
    return module


def affine(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A 1×1 convolution of one sample (C, H, W)."""
    y = torch.einsum("oc, chw -> ohw", layer.weight[:, :, 0, 0], x)
    return y if layer.bias is None else y + layer.bias[:, None, None]


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Two heads of three channels, pixel by pixel."""
    q, k, v = (each.flatten(1) for each in (q, k, v))
    y = torch.zeros_like(v)
    for part in (slice(0, 3), slice(3, 6)):
        for n in range(v.shape[1]):
            weights = torch.stack([(q[part, n] @ k[part, m] / 3**0.5).exp() for m in range(v.shape[1])])
            y[part, n] = v[part] @ weights / weights.sum()
    return y


def neighbours(height: int, width: int, i: int, j: int, reach: tuple[int, int]) -> list[tuple[int, ...]]:
    """Row and column in the kernel, and on the map, of all that lies on the map."""
    down, right = reach
    return [
        (a, b, i + a - down, j + b - right)
        for a in range(2 * down + 1)
        for b in range(2 * right + 1)
        if 0 <= i + a - down < height and 0 <= j + b - right < width
    ]


def depthwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    y = conv.bias[:, None, None] + torch.zeros_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            for a, b, r, c in neighbours(*x.shape[1:], i, j, conv.padding):
                y[:, i, j] += conv.weight[:, 0, a, b] * x[:, r, c]
    return y


@torch.no_grad()
@pytest.mark.parametrize("along", ["map", "raster"])
def test_the_static_form_adds_shares_of_separable_convolutions_of_the_values(along):
    module = built(along=along, key_bias=True)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    q, k, v = (affine(layer, x) for layer in module.split)
    expected = affine(module.project, attended(q, k, v).unflatten(1, (3, 4)))
    one, three, five = module.convolve
    laid = v if along == "map" else v.reshape(6, 1, 12)
    branches = [affine(one[0], laid)] + [affine(both[1], depthwise(both[0], laid)) for both in (three, five)]
    g = module.shares[0].exp() / module.shares[0].exp().sum()
    expected += sum(share * branch.reshape(6, 3, 4) for share, branch in zip(g, branches, strict=True))
    torch.testing.assert_close(module(x[None])[0], expected)


@torch.no_grad()
@pytest.mark.parametrize(("along", "shape"), [("map", (3, 4)), ("raster", (1, 12))])
def test_the_dynamic_form_averages_windows_as_each_pixel_asks_for(along, shape):
    module = built(form="dynamic", along=along, kernels=(3, 5))
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    q, k, v = affine(module.split[0], x).reshape(18, *shape).chunk(3)
    local = torch.zeros_like(v)
    g = module.shares[0].softmax(0)
    for share, conv, size in zip(g, module.convolve, (3, 5), strict=True):
        rows = size if along == "map" else 1
        logits = affine(conv.predict, v).reshape(2, rows, size, *shape)
        weights = logits.exp() / logits.exp().sum(dim=(1, 2), keepdim=True)
        for i in range(shape[0]):
            for j in range(shape[1]):
                for a, b, r, c in neighbours(*shape, i, j, (rows // 2, size // 2)):
                    asked = weights[:, a, b, i, j].repeat_interleave(3)
                    local[:, i, j] += share * asked * v[:, r, c]
    both = torch.cat([attended(q, k, v).reshape(6, 3, 4), local.reshape(6, 3, 4)])
    torch.testing.assert_close(module(x[None])[0], affine(module.project, both))


@pytest.mark.parametrize("form", ["static", "dynamic"])
def test_the_shares_stay_the_same_parameter_and_learn(form):
    """A popular copy replaces them by their softmax in each call, so that no optimiser ever moves them."""
    module = built(form=form)
    shares = module.shares[0]
    before = shares.clone()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.randn(2, 6, 4, 4, dtype=torch.float64)).square().mean().backward()
    assert torch.equal(shares, before)
    optimiser.step()
    assert module.shares[0] is shares
    assert not torch.equal(shares, before)


@torch.no_grad()
def test_the_bias_of_the_keys_has_no_effect():
    module = built(key_bias=True)
    x = torch.randn(1, 6, 3, 3, dtype=torch.float64)
    expected = module(x)
    module.split[1].bias.add_(3)
    torch.testing.assert_close(module(x), expected)


def test_the_weights_are_as_many_and_in_the_order_of_both_references():
    def sizes(**options: object) -> list[int]:
        return [w.numel() for w in ParallelMultiScaleAttention(64, heads=4, along="raster", **options).parameters()]

    pair = [64**2, 64]
    copy = sizes(key_bias=True)
    assert copy == [3, *pair, *pair, *pair, *pair, *pair, 64 * 3, 64, *pair, 64 * 5, 64, *pair]
    assert sum(copy) == 29_763
    authors = sizes(form="dynamic", kernels=(3, 15))
    assert authors == [3 * 64**2, 192, 2, 64 * 12, 64 * 60, 2 * 64**2, 64]
    assert sum(authors) == 25_346


@pytest.mark.parametrize("options", [{"kernels": (3, 4)}, {"kernels": ()}, {"kernels": (1, 3), "form": "dynamic"}])
def test_kernels_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="kernels"):
        ParallelMultiScaleAttention(6, **options)
