"""MobileViT block."""

import pytest
import torch
from torch import nn

from nowcast.attention.mobilevit import MobileViTBlock
from nowcast.contracts import InputError


def affine(layer: nn.Conv2d, pixel: torch.Tensor) -> torch.Tensor:
    return layer.weight[:, :, 0, 0] @ pixel + layer.bias


def normed(pixel: torch.Tensor, layer: nn.LayerNorm) -> torch.Tensor:
    standard = (pixel - pixel.mean()) / (pixel.var(correction=0) + 1e-5).sqrt()
    return standard * layer.weight + layer.bias


def by_pixel(layer: nn.Module, step: object, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([step(pixel, layer) for pixel in x.flatten(1).T], dim=1).unflatten(1, x.shape[1:])


def attended(module: nn.Module, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """One sample (d, H, W), pixel by pixel and head by head."""
    width, height, length = x.shape
    d = width // module.heads
    three = by_pixel(module.query_key_value, lambda pixel, layer: affine(layer, pixel), x)
    y = torch.zeros_like(x)
    for i in range(height):
        for j in range(length):
            kin = [(a, b) for a in range(i % rows, height, rows) for b in range(j % columns, length, columns)]
            for h in range(module.heads):
                query, key, value = (three[s * width + h * d : s * width + (h + 1) * d] for s in range(3))
                weights = [(query[:, i, j] @ key[:, a, b] / d**0.5).exp() for a, b in kin]
                context = sum(w * value[:, a, b] for w, (a, b) in zip(weights, kin, strict=True))
                y[h * d : (h + 1) * d, i, j] = context / sum(weights)
    return by_pixel(module.project, lambda pixel, layer: affine(layer, pixel), y)


def built(**options: object) -> MobileViTBlock:
    torch.manual_seed(0)
    module = MobileViTBlock(4, **options).double()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    return module


@torch.no_grad()
@pytest.mark.parametrize(("patch", "rows", "columns"), [(2, 2, 2), ((1, 3), 1, 3)])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (3, 5), (1, 1)])
def test_the_transformer_runs_between_pixels_at_equal_place_in_their_patches(patch, rows, columns, height, width):
    module = built(patch=patch, layers=1, heads=2)
    x = torch.randn(6, height, width, dtype=torch.float64)
    attend, perceptron, last = module.transform

    def norm(pixel: torch.Tensor, layer: nn.LayerNorm) -> torch.Tensor:
        return normed(pixel, layer)

    y = x + attended(attend[1], by_pixel(attend[0], norm, x), rows, columns)
    for i in range(height):
        for j in range(width):
            hidden = affine(perceptron[1], normed(y[:, i, j], perceptron[0]))
            y[:, i, j] += affine(perceptron[3], hidden / (1 + torch.exp(-hidden)))
    torch.testing.assert_close(module.transform(x[None])[0], by_pixel(last, norm, y))


@torch.no_grad()
def test_the_transformed_map_is_fused_with_the_input_which_comes_first():
    module = built()
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    inner = module.narrow(module.transform(module.tell(x)))
    first, second = module.fuse[0].weight.split(4, dim=1)
    conv = nn.functional.conv2d
    logits = module.fuse[1](conv(x, first, padding=1) + conv(inner, second, padding=1))
    torch.testing.assert_close(module(x), logits * torch.sigmoid(logits))


@torch.no_grad()
def test_what_incomplete_patches_are_filled_up_with_is_not_attended_to():
    """With keys of zero every pixel's context is the mean of its kin, which filled-in zeros would lower."""
    module = built(layers=1).transform[0][1]
    module.query_key_value.weight.zero_()
    module.query_key_value.bias.copy_(torch.cat([torch.zeros(12), torch.ones(6)]))
    whole = module(torch.randn(1, 6, 4, 4, dtype=torch.float64))[..., 0, 0]
    ragged = module(torch.randn(1, 6, 5, 7, dtype=torch.float64))
    torch.testing.assert_close(ragged, whole[..., None, None].expand_as(ragged))


def test_the_published_weights_come_out_in_order():
    module = MobileViTBlock(64, norm="batch")
    sizes = [weight.numel() for weight in module.parameters()]
    layer = [96, 96, 96 * 288, 288, 96**2, 96, 96, 96, 96 * 192, 192, 192 * 96, 96]
    head, tail = [64 * 64 * 9, 64, 64, 64 * 96], [96, 96, 96 * 64, 64, 64, 128 * 64 * 9, 64, 64]
    assert sizes == head + 2 * layer + tail
    assert sum(sizes) == 273_024


def test_heads_must_divide_the_width_of_the_transformer():
    with pytest.raises(InputError, match="24 channels"):
        MobileViTBlock(16, heads=5)
