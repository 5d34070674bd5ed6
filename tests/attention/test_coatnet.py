"""CoAtNet."""

import math

import pytest
import torch
from torch import nn

from nowcast.attention.coatnet import ConvolutionAndAttention
from nowcast.contracts import InputError


def built(**options: object) -> ConvolutionAndAttention:
    torch.manual_seed(0)
    module = ConvolutionAndAttention(6, heads=2, **options).double()
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7)
    return module


def attended(module: nn.Module, x: torch.Tensor, side: int | None = None) -> torch.Tensor:
    """One sample (C, H, W), pixel by pixel, with biases read from the table by displacement."""
    (rows, columns), (_, height, width) = module.size, x.shape
    table = module.bias.reshape(2 * rows - 1, 2 * columns - 1, 2)
    pixels = [(i, j) for i in range(height) for j in range(width)]
    q, k, v = torch.einsum("oc, chw -> ohw", module.query_key_value.weight[:, :, 0, 0], x).split(6)
    y = torch.zeros_like(x)
    for i, j in pixels:
        kin = [(a, b) for a, b in pixels if side is None or (i // side, j // side) == (a // side, b // side)]
        for h in range(2):
            part = slice(3 * h, 3 * h + 3)
            weights = [
                (q[part, i, j] @ k[part, a, b] / 3**0.5 + table[i - a + rows - 1, j - b + columns - 1, h]).exp()
                for a, b in kin
            ]
            context = sum(w * v[part, a, b] for w, (a, b) in zip(weights, kin, strict=True))
            y[part, i, j] = context / sum(weights)
    project = module.project
    return torch.einsum("oc, chw -> ohw", project.weight[:, :, 0, 0], y) + project.bias[:, None, None]


@torch.no_grad()
def test_attention_is_the_formula_pixel_by_pixel():
    module = built(part="attention", size=(3, 4))
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    expected = torch.stack([attended(module.body[0], sample) for sample in x])
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (1, 1)])
def test_windows_attend_to_themselves_alone_and_to_nothing_beyond_the_map(height, width):
    module = built(part="attention", window=2)
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    expected = torch.stack([attended(module.body[0], sample, side=2) for sample in x])
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_biases_are_stretched_over_maps_of_other_sizes():
    """A table that is the row displacement itself is 27/5 of it between 3 rows, where 14 were learnt."""
    module = built(part="attention").body[0]
    ramp = torch.arange(-13.0, 14.0, dtype=torch.float64)
    module.bias.copy_(ramp.repeat_interleave(27)[:, None].expand(-1, 2))
    rows = torch.arange(3).repeat_interleave(2)
    expected = 27 / 5 * (rows[:, None] - rows)
    inner = (rows[:, None] - rows).abs() < 2  # the bicubic filter sees the end of the table further out
    found = module.pairs(3, 2)[0]
    torch.testing.assert_close(found[inner], expected[inner].double(), atol=0.03, rtol=0)


def norm(x: torch.Tensor, layer: nn.GroupNorm) -> torch.Tensor:
    standard = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    return standard * layer.weight[:, None, None] + layer.bias[:, None, None]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


@torch.no_grad()
def test_the_bottleneck_is_what_its_authors_stack():
    module = built(part="mbconv")
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    first, widen, second, _, depthwise, third, _, squeeze, narrow, last = module.body[0]
    wide = gelu(norm(torch.einsum("oc, chw -> ohw", widen.weight[:, :, 0, 0], norm(x, first)), second))
    near = torch.zeros_like(wide)
    for i in range(3):
        for j in range(4):
            for a in range(max(i - 1, 0), min(i + 2, 3)):
                for b in range(max(j - 1, 0), min(j + 2, 4)):
                    near[:, i, j] += depthwise.weight[:, 0, a - i + 1, b - j + 1] * wide[:, a, b]
    near = gelu(norm(near, third))
    down, _, up, _ = squeeze.excite
    gate = torch.sigmoid(up.weight @ gelu(down.weight @ near.mean(dim=(1, 2))))
    y = torch.einsum("oc, chw -> ohw", narrow.weight[:, :, 0, 0], near * gate[:, None, None])
    torch.testing.assert_close(module(x[None])[0], x + norm(y, last))


@torch.no_grad()
def test_the_transformer_layer_has_layer_norms_first_and_residuals():
    module = built(part="transformer", size=(2, 3))
    x = torch.randn(1, 6, 2, 3, dtype=torch.float64)

    def normed(x: torch.Tensor, layer: nn.LayerNorm) -> torch.Tensor:
        standard = (x - x.mean(dim=1)) / (x.var(dim=1, correction=0) + 1e-5).sqrt()
        return standard * layer.weight[:, None, None] + layer.bias[:, None, None]

    attend, perceptron = module.body
    y = x + attended(attend[1], normed(x, attend[0])[0])
    hidden = gelu(perceptron[1](normed(y, perceptron[0])))
    torch.testing.assert_close(module(x), y + perceptron[3](hidden))


@torch.no_grad()
def test_the_bottleneck_comes_before_the_transformer_layer():
    both, mbconv, transformer = built(), built(part="mbconv"), built(part="transformer")
    weights = iter(both.parameters())
    for part in (mbconv, transformer):
        for weight in part.parameters():
            weight.copy_(next(weights))
    x = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(both(x), transformer(mbconv(x)))


def test_the_published_weights_come_out_in_order():
    def sizes(**options: object) -> list[int]:
        return [w.numel() for w in ConvolutionAndAttention(64, heads=4, size=(6, 8), **options).parameters()]

    attention = [11 * 15 * 4, 3 * 64**2, 64**2, 64]
    assert sizes(part="attention") == attention
    assert sizes(part="transformer") == [64, 64, *attention, 64, 64, 4 * 64**2, 256, 4 * 64**2, 64]
    assert sum(sizes(part="transformer")) == 50_452
    assert sum(sizes(part="mbconv", norm="batch")) == 44_544
    assert sum(sizes()) == 50_452 + 44_544


def test_bad_sizes_and_windows_are_refused():
    with pytest.raises(InputError, match="1 pixel or more"):
        ConvolutionAndAttention(6, window=0)
    with pytest.raises(InputError, match="rows and columns"):
        ConvolutionAndAttention(6, size=(14,))
