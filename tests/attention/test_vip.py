"""Weighted permute-MLP."""

import math

import pytest
import torch

from nowcast.attention.vip import WeightedPermuteMLP
from nowcast.contracts import InputError


def built(channels: int = 6, **options: object) -> WeightedPermuteMLP:
    torch.manual_seed(0)
    module = WeightedPermuteMLP(channels, **options).double()
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return module


def along(lines: torch.Tensor, mix: torch.nn.Linear, stretch: int) -> torch.Tensor:
    """Mixing along the last axis of (C, lines, pixels), number by number."""
    channels, count, length = lines.shape
    width = channels // stretch
    y = torch.zeros_like(lines)
    for c in range(channels):
        segment, s = divmod(c, width)
        for line in range(count):
            for i in range(length):
                start, p = i - i % stretch, i % stretch
                if mix.bias is not None:
                    y[c, line, i] += mix.bias[p * width + s]
                for other in range(stretch):
                    for t in range(width):
                        if start + other < length:
                            value = lines[segment * width + t, line, start + other]
                            y[c, line, i] += mix.weight[p * width + s, other * width + t] * value
    return y


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 2), (1, 5)])
def test_it_is_the_formula_number_by_number(height, width, bias):
    module = built(segments=3, bias=bias, minimum=1)
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    for b in range(2):
        h = along(x[b].mT, module.columns, 3).mT
        w = along(x[b], module.rows, 3)
        c = torch.einsum("oc, chw -> ohw", module.channels.weight, x[b])
        if bias:
            c = c + module.channels.bias[:, None, None]
        narrow, _, again = module.weigh
        hidden = narrow.weight @ (h + w + c).mean(dim=(1, 2)) + narrow.bias
        logits = again.weight @ (hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2) + again.bias
        y = torch.zeros_like(x[b])
        for channel in range(6):
            shares = logits[3 * channel : 3 * channel + 3].exp()
            for share, part in zip(shares / shares.sum(), (h, w, c), strict=True):
                y[channel] += share * part[channel]
        expected = torch.einsum("oc, chw -> ohw", module.project.weight, y)
        torch.testing.assert_close(module(x)[b], expected + module.project.bias[:, None, None])


@torch.no_grad()
def test_pixels_meet_within_a_stretch_of_their_row_or_column_alone():
    module = built(8, segments=4)
    module.weigh[2].weight.zero_()  # else all pixels meet in the pooled sum
    x = torch.randn(1, 8, 6, 9, dtype=torch.float64)
    other = x.clone()
    other[:, :, 1, 5] += 1
    changed = (module(x) - module(other)).abs().amax(dim=(0, 1)) > 1e-12
    expected = torch.zeros(6, 9, dtype=torch.bool)
    expected[1, 4:8] = expected[0:4, 5] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_zeros_beyond_the_border_do_not_count_in_the_weights():
    """The pooled mean is that of the pixels there are."""
    module = built(segments=3)
    for layer in (module.columns, module.rows):
        layer.weight.zero_()
    pixel = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    small, large = (module(pixel.expand(1, 6, *size))[..., 0, 0] for size in ((3, 3), (4, 5)))
    torch.testing.assert_close(small, large)


def test_the_published_weights_come_out_in_order():
    sizes = [weight.numel() for weight in WeightedPermuteMLP(64).parameters()]
    assert sizes == [64**2, 64**2, 64**2, 64 * 16, 16, 16 * 192, 192, 64**2, 64]
    assert sum(sizes) == 20_752


def test_segments_must_divide_the_channels():
    with pytest.raises(InputError, match="4 vip segments do not divide 6"):
        WeightedPermuteMLP(6, segments=4)
