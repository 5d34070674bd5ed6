"""Efficient multi-head self-attention."""

import pytest
import torch

from nowcast.attention.emsa import EfficientMultiHeadSelfAttention
from nowcast.contracts import InputError


def built(channels: int = 6, **options: object) -> EfficientMultiHeadSelfAttention:
    torch.manual_seed(0)
    module = EfficientMultiHeadSelfAttention(channels, **options).double()
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return module


def normed(pixel: torch.Tensor, layer: torch.nn.LayerNorm) -> torch.Tensor:
    standard = (pixel - pixel.mean()) / (pixel.var(correction=0) + layer.eps).sqrt()
    return standard * layer.weight + layer.bias


def thinned(module: EfficientMultiHeadSelfAttention, x: torch.Tensor) -> list[torch.Tensor]:
    """Pixels of the thinned map of one sample (C, H, W), window by window."""
    conv, norm = module.thin
    stride, pixels = module.ratio, []
    for row in range(0, x.shape[1], stride):
        for column in range(0, x.shape[2], stride):
            total = conv.bias.clone()
            for i in range(stride + 1):
                for j in range(stride + 1):
                    r, c = row + i - stride // 2, column + j - stride // 2
                    if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                        total += conv.weight[:, 0, i, j] * x[:, r, c]
            pixels.append(normed(total, norm))
    return pixels


def affine(layer: torch.nn.Conv2d, pixel: torch.Tensor) -> torch.Tensor:
    y = layer.weight[:, :, 0, 0] @ pixel
    return y if layer.bias is None else y + layer.bias


def softmax_maps(module: EfficientMultiHeadSelfAttention, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Weights (heads, N, keys) before they are standardised, and values (heads, keys, d), token by token."""
    heads, d = module.heads, x.shape[0] // module.heads
    keys = [affine(module.key_value, pixel) for pixel in thinned(module, x)]
    queries = [affine(module.query, pixel) for pixel in x.flatten(1).T]
    logits = torch.zeros(heads, len(queries), len(keys), dtype=x.dtype)
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        for i, q in enumerate(queries):
            for j, kv in enumerate(keys):
                logits[h, i, j] = q[part] @ kv[: x.shape[0]][part] / d**0.5
    if module.mix is not None:
        mixing = module.mix.weight[:, :, 0, 0]
        logits = torch.stack([sum(mixing[g, h] * logits[h] for h in range(heads)) for g in range(heads)])
    weights = logits.exp() / logits.exp().sum(dim=2, keepdim=True)
    values = torch.stack([kv[x.shape[0] :] for kv in keys]).unflatten(1, (heads, d)).movedim(1, 0)
    return weights, values


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3)])
@pytest.mark.parametrize("mix_heads", [True, False])
def test_it_is_the_formula_token_by_token(height, width, mix_heads):
    module = built(heads=3, ratio=2, mix_heads=mix_heads)
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    for b in range(2):
        weights, values = softmax_maps(module, x[b])
        if mix_heads:
            mean, variance = weights.mean(dim=(1, 2)), weights.var(dim=(1, 2), correction=0)
            weights = (weights - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        context = (weights @ values).movedim(0, 1).flatten(1)
        expected = torch.stack([affine(module.project, pixel) for pixel in context], dim=1)
        torch.testing.assert_close(module(x)[b].flatten(1), expected)


@torch.no_grad()
def test_the_second_version_adds_its_values_at_full_resolution():
    module = built(heads=3, ratio=2, version="v2")
    x = torch.randn(6, 5, 4, dtype=torch.float64)
    weights, values = softmax_maps(module, x)
    coarse = values.movedim(0, 1).flatten(1).T.unflatten(1, (3, 2))  # (C, H/2, W/2)
    conv, _, norm = module.restore
    context = (weights @ values).movedim(0, 1).flatten(1).unflatten(0, (5, 4))
    for r in range(5):
        for c in range(4):
            fine = torch.zeros(6, dtype=x.dtype)
            for channel in range(6):
                unit = 4 * channel + 2 * (r % 2) + c % 2
                fine[channel] = conv.bias[unit]
                for i in range(3):
                    for j in range(3):
                        a, b = r // 2 + i - 1, c // 2 + j - 1
                        if 0 <= a < 3 and 0 <= b < 2:
                            fine[channel] += conv.weight[unit, 0, i, j] * coarse[channel, a, b]
            expected = affine(module.project, context[r, c] + normed(fine, norm))
            torch.testing.assert_close(module(x[None])[0, :, r, c], expected)


@torch.no_grad()
def test_the_bias_of_the_mixing_has_no_effect():
    module = built(heads=3, ratio=2, mix_bias=True)
    x = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    expected = module(x)
    module.mix.bias.add_(5 * torch.randn(3))
    torch.testing.assert_close(module(x), expected)


def test_the_weights_are_as_many_and_in_the_order_of_the_authors():
    def sizes(**options: object) -> list[int]:
        module = EfficientMultiHeadSelfAttention(64, heads=4, **options)
        return [weight.numel() for weight in module.parameters()]

    matrix = 64**2
    first = [matrix, 2 * matrix, matrix, 64, 64 * 9, 64, 64, 64, 16, 4]
    assert sizes(ratio=2, mix_bias=True) == first
    assert sizes(ratio=1, mix_heads=False) == first[:4]
    assert sum(sizes(ratio=4, mix_bias=True)) == 18_260
    second = [matrix, 64, 2 * matrix, 128, 64 * 9, 64, 64, 64, 256 * 9, 256, 64, 64, matrix, 64]
    assert sizes(ratio=2, version="v2") == second


@torch.no_grad()
def test_an_odd_ratio_leaves_no_map_without_keys():
    module = built(ratio=3)
    for height, width in ((1, 1), (1, 7), (4, 2)):
        assert module(torch.ones(1, 6, height, width, dtype=torch.float64)).isfinite().all()


def test_a_ratio_below_one_is_refused():
    with pytest.raises(InputError, match="1 \\(no thinning\\)"):
        EfficientMultiHeadSelfAttention(6, ratio=0)
