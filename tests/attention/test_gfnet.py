"""Global filter."""

import cmath
import math

import pytest
import torch

from nowcast.attention.gfnet import GlobalFilter
from nowcast.contracts import InputError


def kernel_of(module: GlobalFilter, height: int, width: int) -> torch.Tensor:
    """The filter in space by the definition of the inverse transform, (C, H, W)."""
    table = torch.view_as_complex(module.filter.detach()).tolist()
    kernel = torch.zeros(module.filter.shape[2], height, width)
    for c, i, j in torch.cartesian_prod(*map(torch.arange, kernel.shape)).tolist():
        total = 0.0
        for u in range(height):
            for v in range(width):
                # The half that is not stored holds the conjugates: the filter is real.
                stored = v <= width // 2
                value = table[u][v][c] if stored else table[-u % height][width - v][c].conjugate()
                total += (value * cmath.exp(2j * math.pi * (u * i / height + v * j / width))).real
        kernel[c, i, j] = total / (height * width)
    return kernel


@pytest.mark.parametrize(("height", "width"), [(3, 4), (4, 5)])
@torch.no_grad()
def test_it_is_a_circular_convolution_with_the_filter_in_space(height, width):
    torch.manual_seed(0)
    module = GlobalFilter(2, size=(height, width))
    x, kernel = torch.randn(2, 2, height, width), kernel_of(module, height, width)
    expected = torch.zeros_like(x)
    for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
        for k in range(height):
            for m in range(width):
                expected[:, :, i, j] += kernel[:, (i - k) % height, (j - m) % width] * x[:, :, k, m]
    torch.testing.assert_close(module(x), expected)


def shifting(height: int, width: int, **options: bool) -> GlobalFilter:
    """A filter that moves a map of this size one column to the right."""
    module = GlobalFilter(3, size=(height, width), **options)
    phase = -2 * math.pi * torch.arange(width // 2 + 1) / width
    with torch.no_grad():
        module.filter.copy_(torch.stack([phase.cos(), phase.sin()], dim=-1)[None, :, None].expand_as(module.filter))
    return module


@torch.no_grad()
def test_what_leaves_at_a_border_comes_back_only_when_it_is_circular():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(shifting(4, 5)(x), x.roll(1, dims=-1))
    open_border = shifting(8, 10, circular=False)(x)
    torch.testing.assert_close(open_border[..., 1:], x[..., :-1])
    torch.testing.assert_close(open_border[..., 0], torch.zeros(2, 3, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(6, 8), (12, 10), (5, 7), (4, 6)])
@torch.no_grad()
def test_a_wave_is_treated_by_its_length_in_pixels_whatever_the_size_of_the_map(height, width):
    """K = |frequency| along rows times that along columns is linear between entries, hence exact anywhere."""
    module = GlobalFilter(1, size=(8, 12))
    down = torch.arange(8).minimum(8 - torch.arange(8)) / 8
    right = torch.arange(7) / 12
    module.filter.zero_()[..., 0, 0] = down[:, None] * right
    i, j = torch.arange(height)[:, None], torch.arange(width)
    for u, v in ((1, 1), (2, 1), (height - 1, 2)):
        wave = torch.cos(2 * math.pi * (u * i / height + v * j / width))[None, None]
        factor = min(u, height - u) / height * v / width
        torch.testing.assert_close(module(wave), factor * wave, atol=1e-6, rtol=1e-5)


def test_a_size_must_have_rows_and_columns():
    with pytest.raises(InputError, match="14 and 14"):
        GlobalFilter(4, size=(14,))
