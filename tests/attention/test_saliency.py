"""Saliency without weights."""

import math

import pytest
import torch

from nowcast.attention.saliency import Saliency, gabor_filters, promoted
from nowcast.contracts import InputError


def promoted_by_hand(x: torch.Tensor) -> torch.Tensor:
    """N of one map, peak by peak."""
    x = (x - x.min()) / (x.max() - x.min())
    peaks = []
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            around = x[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            if x[i, j] > 0.1 and x[i, j] == around.max():
                peaks.append(float(x[i, j]))
    others = sorted(peaks)[:-1]
    return x * (1 - (sum(others) / len(others) if others else 0)) ** 2


def halved_by_hand(x: torch.Tensor) -> torch.Tensor:
    """Blurred pixel by pixel, borders repeated; then the mean of each pair of rows and of columns (even sizes)."""
    taps, (height, width) = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], x.shape
    blurred = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            for k in range(-2, 3):
                for m in range(-2, 3):
                    pixel = x[min(max(i + k, 0), height - 1), min(max(j + m, 0), width - 1)]
                    blurred[i, j] += taps[k + 2] * taps[m + 2] * pixel
    return torch.stack(
        [
            torch.stack([blurred[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(width // 2)])
            for i in range(height // 2)
        ]
    )


def waves_by_hand(x: torch.Tensor) -> torch.Tensor:
    """|even| + |odd| of each direction, pixel by pixel, borders repeated: (H, W) → (4, H, W)."""
    filters, (height, width) = gabor_filters()[:, 0], x.shape
    found = torch.zeros(4, height, width)
    for i in range(height):
        for j in range(width):
            rows = (torch.arange(9) - 4 + i).clamp(0, height - 1)
            columns = (torch.arange(9) - 4 + j).clamp(0, width - 1)
            answers = (filters * x[rows][:, columns]).sum(dim=(1, 2)).abs()
            found[:, i, j] = answers[0::2] + answers[1::2]
    return found


def test_it_is_the_model_of_one_centre_and_one_surround_pixel_by_pixel():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 8)
    found = Saliency(3, centres=(0,), deltas=(1,)).saliency(x)
    for b in range(2):
        centre = x[b].mean(dim=0)
        centre = (centre - centre.min()) / (centre.max() - centre.min())
        surround = halved_by_hand(centre)

        def contrast(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
            up = torch.nn.functional.interpolate(coarse[None, None], fine.shape, mode="bilinear")[0, 0]
            return promoted_by_hand((fine - up).abs())

        directions = [
            promoted_by_hand(contrast(fine, coarse))
            for fine, coarse in zip(waves_by_hand(centre), waves_by_hand(surround), strict=True)
        ]
        expected = (promoted_by_hand(contrast(centre, surround)) + promoted_by_hand(sum(directions))) / 2
        torch.testing.assert_close(found[b, 0], expected, rtol=1e-3, atol=1e-4)


def test_one_peak_is_promoted_and_many_equal_peaks_are_lost():
    one, many = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    one[..., 4, 4] = 3
    many[..., 1::3, 1::3] = 3
    torch.testing.assert_close(promoted(one), one / 3)
    torch.testing.assert_close(promoted(many), torch.zeros_like(many))


def test_a_cell_stands_out_from_weak_rain():
    torch.manual_seed(0)
    x = 0.2 * torch.rand(1, 1, 128, 128)
    x[..., 40:56, 80:96] += 5
    salient = Saliency(1).saliency(x)[0, 0]
    row, column = divmod(int(salient.argmax()), 128)
    assert 36 <= row < 60
    assert 76 <= column < 100
    assert salient[40:56, 80:96].mean() > 5 * salient[80:, :64].mean()


def test_the_one_line_across_stands_out_among_lines_along():
    x = torch.zeros(1, 1, 160, 160)
    for row in range(10, 160, 20):
        for column in range(10, 160, 20):
            x[..., row, column - 4 : column + 5] = 1
    x[..., 90, 86:95] = 0
    x[..., 86:95, 90] = 1
    salient = Saliency(1, centres=(0, 1), deltas=(2, 3)).saliency(x)
    blocks = torch.nn.functional.avg_pool2d(salient, 20)[0, 0]
    others = blocks[torch.arange(64).view(8, 8) != 4 * 8 + 4]
    assert blocks[4, 4] > 1.5 * others.max()


def test_filters_are_blind_to_brightness_and_see_their_direction():
    filters = gabor_filters()
    torch.testing.assert_close(filters.sum(dim=(2, 3)), torch.zeros(8, 1), atol=1e-6, rtol=0)
    wave = torch.cos(2 * math.pi / 7 * (torch.arange(9.0) - 4)).expand(9, 9)
    answers = [(filters[direction : direction + 2, 0] * wave).sum(dim=(1, 2)).abs().sum() for direction in (0, 2, 4, 6)]
    assert answers[0] > 2 * max(answers[1:])


def test_neither_offset_nor_scale_of_a_map_matters():
    torch.manual_seed(0)
    module, x = Saliency(2).double(), torch.randn(1, 2, 64, 64).double()
    torch.testing.assert_close(module.saliency(3 * x + 7), module.saliency(x))


def test_on_an_even_map_nothing_stands_out():
    x = torch.full((1, 3, 40, 40), 0.7)
    assert torch.equal(Saliency(3)(x), x)
    assert torch.equal(Saliency(3, residual=False)(x), torch.zeros_like(x))


@pytest.mark.parametrize("options", [{"centres": ()}, {"centres": (-1,)}, {"deltas": (0, 1)}])
def test_levels_that_do_not_exist_are_refused(options):
    with pytest.raises(InputError, match="2, 3, 4 and 3, 4"):
        Saliency(3, **options)
