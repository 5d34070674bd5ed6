"""Separable self-attention."""

import pytest
import torch
from torch import nn

from nowcast.attention.mobilevit_v2 import SeparableSelfAttention
from nowcast.contracts import InputError


def affine(layer: nn.Conv2d, pixel: torch.Tensor) -> torch.Tensor:
    y = layer.weight[:, :, 0, 0] @ pixel
    return y if layer.bias is None else y + layer.bias


def separable(module: nn.Module, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """One sample (C, H, W), pixel by pixel, for patches of so many rows and columns."""
    channels, height, width = x.shape
    y = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            kin = [(a, b) for a in range(i % rows, height, rows) for b in range(j % columns, width, columns)]
            each = [affine(module.query_key_value, x[:, a, b]) for a, b in kin]
            total = sum(one[0].exp() for one in each)
            context = sum(one[0].exp() / total * one[1 : channels + 1] for one in each)
            value = affine(module.query_key_value, x[:, i, j])[channels + 1 :].clamp_min(0)
            y[:, i, j] = affine(module.project, value * context)
    return y


@torch.no_grad()
@pytest.mark.parametrize(("patch", "rows", "columns"), [(2, 2, 2), (1, 1, 1), ((4, 1), 4, 1)])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (1, 1)])
def test_it_is_the_formula_pixel_by_pixel(patch, rows, columns, height, width):
    torch.manual_seed(0)
    module = SeparableSelfAttention(5, patch=patch).double()
    x = torch.randn(2, 5, height, width, dtype=torch.float64)
    expected = torch.stack([separable(module.body, sample, rows, columns) for sample in x])
    torch.testing.assert_close(module(x), expected)


def whole_norm(x: torch.Tensor, layer: nn.GroupNorm) -> torch.Tensor:
    standard = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    return standard * layer.weight[:, None, None] + layer.bias[:, None, None]


def pointwise(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([affine(layer, pixel) for pixel in x.flatten(1).T], dim=1).unflatten(1, x.shape[1:])


def swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + torch.exp(-x))


@torch.no_grad()
def test_the_block_is_what_its_authors_stack():
    torch.manual_seed(0)
    module = SeparableSelfAttention(4, part="block", width=6, layers=1).double()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.6)
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    depthwise, norm, _, widen, attend, perceptron, last, narrow, final = module.body
    near = torch.zeros_like(x)
    for i in range(3):
        for j in range(5):
            for a in range(max(i - 1, 0), min(i + 2, 3)):
                for b in range(max(j - 1, 0), min(j + 2, 5)):
                    near[:, i, j] += depthwise.weight[:, 0, a - i + 1, b - j + 1] * x[:, a, b]
    y = pointwise(widen, swish(whole_norm(near, norm)))
    y = y + separable(attend[1], whole_norm(y, attend[0]), 2, 2)
    wide = swish(pointwise(perceptron[1], whole_norm(y, perceptron[0])))
    y = y + pointwise(perceptron[3], wide)
    expected = whole_norm(pointwise(narrow, whole_norm(y, last)), final)
    torch.testing.assert_close(module(x[None])[0], expected)


def test_the_published_weights_come_out_in_order():
    module = SeparableSelfAttention(64)
    assert [weight.numel() for weight in module.parameters()] == [129 * 64, 129, 64**2, 64]
    block = SeparableSelfAttention(64, part="block", norm="batch")
    assert sum(weight.numel() for weight in block.parameters()) == 67_906


@torch.no_grad()
def test_values_are_rectified():
    """Popular copies leave the ReLU out."""
    module = SeparableSelfAttention(4)
    module.body.query_key_value.weight.zero_()
    module.body.query_key_value.bias.fill_(-1)
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(x), module.body.project.bias[:, None, None].expand(1, 4, 2, 2))


def test_an_empty_patch_is_refused():
    with pytest.raises(InputError, match="rows and columns"):
        SeparableSelfAttention(4, patch=0)
