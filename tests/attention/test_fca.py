"""FcaNet's frequency channel attention."""

import math

import pytest
import torch

from nowcast.attention.fca import FREQUENCIES, FrequencyChannelAttention
from nowcast.attention.se import SqueezeExcitation
from nowcast.contracts import InputError


def cosine(frequency: int, place: int, length: int) -> float:
    scale = math.sqrt((1 if frequency == 0 else 2) / length)
    return scale * math.cos(math.pi * frequency * (place + 0.5) / length)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 21), (3, 9)])
def test_components_are_the_sums_pixel_by_pixel(height, width):
    """On 14 pixels a wave of 7 has twice the frequency; on fewer than 7 it is not lost."""
    torch.manual_seed(0)
    module = FrequencyChannelAttention(8, frequencies="low", count=4)
    x = torch.randn(2, 8, height, width)
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for b in range(2):
        for c in range(8):
            u, v = pairs[c // 2]
            u, v = u * max(height // 7, 1), v * max(width // 7, 1)
            expected = sum(
                x[b, c, i, j] * cosine(u, i, height) * cosine(v, j, width) for i in range(height) for j in range(width)
            )
            torch.testing.assert_close(module.components(x)[b, c], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frequencies", ["top", "low"])
def test_the_first_frequency_alone_is_squeeze_and_excitation_of_scaled_means(frequencies):
    torch.manual_seed(0)
    module = FrequencyChannelAttention(16, frequencies=frequencies, count=1)
    squeeze = SqueezeExcitation(16)
    squeeze.load_state_dict(module.state_dict())
    squeeze.excite[0].weight.mul_(math.sqrt(5 * 9))
    x = torch.randn(2, 16, 5, 9)
    torch.testing.assert_close(module(x), squeeze(x))


@torch.no_grad()
def test_it_tells_maps_of_equal_means_apart():
    torch.manual_seed(0)
    module = FrequencyChannelAttention(16)
    x = torch.randn(1, 16, 14, 14)
    assert (module(x).roll(2, -1) - module(x.roll(2, -1))).abs().max() > 1e-3


@torch.no_grad()
def test_waves_of_the_grid_are_orthonormal():
    """A map that is one wave has one component, of 1."""
    module = FrequencyChannelAttention(16, frequencies="low")
    for height, width in ((7, 7), (14, 28)):
        for f, pair in enumerate(FREQUENCIES["low"].split()[:16]):
            u, v = int(pair[0]) * height // 7, int(pair[1]) * width // 7
            wave = torch.tensor(
                [[cosine(u, i, height) * cosine(v, j, width) for j in range(width)] for i in range(height)]
            )
            expected = torch.zeros(1, 16)
            expected[0, f] = 1
            found = module.components(wave.expand(1, 16, height, width))
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_size_pools_the_map_first():
    torch.manual_seed(0)
    module = FrequencyChannelAttention(16, size=(7, 7))
    x = torch.randn(2, 16, 14, 21)
    cells = x.unfold(2, 2, 2).unfold(3, 3, 3).mean(dim=(4, 5))
    torch.testing.assert_close(module.components(x), module.components(cells))


def test_every_set_has_32_frequencies_of_the_grid():
    for pairs in FREQUENCIES.values():
        assert len(pairs.split()) == len(set(pairs.split())) == 32
        assert set(pairs) <= set("0123456 ")


def test_counts_that_do_not_divide_or_exceed_what_is_known_are_refused():
    with pytest.raises(InputError, match="1, 2, 4, 8, 16 would do"):
        FrequencyChannelAttention(16, count=3)
    with pytest.raises(InputError, match="32 frequencies"):
        FrequencyChannelAttention(64, count=64)
