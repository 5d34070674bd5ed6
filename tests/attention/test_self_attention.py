"""Multi-head self-attention."""

import math

import pytest
import torch

from nowcast.attention.self_attention import SelfAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended, pixels


@torch.no_grad()
def test_it_is_the_formula_head_by_head_and_pixel_by_pixel():
    torch.manual_seed(0)
    module, x = SelfAttention(6, heads=2, key_bias=True), torch.randn(2, 6, 2, 3)
    for sample, y in zip(x, module(x), strict=True):
        tokens = pixels(sample)
        q, k, v = (tokens @ layer.weight.T + layer.bias for layer in (module.query, module.key, module.value))
        heads = [attended(q[:, s], k[:, s], v[:, s], 3**-0.5) for s in (slice(0, 3), slice(3, 6))]
        expected = tokens + torch.cat(heads, dim=1) @ module.project.weight.T + module.project.bias
        torch.testing.assert_close(pixels(y), expected)


@torch.no_grad()
def test_without_the_residual_equal_keys_give_the_mean_value_everywhere():
    module, x = SelfAttention(8, residual=False), torch.randn(1, 8, 3, 4)
    module.key.weight.zero_()
    expected = module.project(module.value(x.mean(dim=(2, 3))))
    torch.testing.assert_close(module(x), expected[..., None, None].expand(1, 8, 3, 4))


@torch.no_grad()
def test_positions_are_sines_and_cosines_of_row_and_column():
    torch.manual_seed(0)
    plain, placed = SelfAttention(8), SelfAttention(8, positions="sinusoidal")
    placed.load_state_dict(plain.state_dict())
    codes = torch.empty(1, 8, 3, 5)
    for row in range(3):
        for column in range(5):
            angles = [row, row / 100, column, column / 100]
            waves = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
            codes[0, :, row, column] = torch.tensor(waves)
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(placed(x), plain(x + codes) - codes, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_with_positions_does_it_notice_a_permutation_of_the_pixels():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 4, 5).double()
    for positions, moved in ((None, False), ("sinusoidal", True)):
        module = SelfAttention(6, positions=positions).double()
        difference = (module(x.flip(3)) - module(x).flip(3)).abs().max()
        assert (difference > 1e-3) == moved


@torch.no_grad()
def test_the_bias_of_the_keys_has_no_effect():
    module, x = SelfAttention(8, key_bias=True), torch.randn(2, 8, 3, 3)
    expected = module(x)
    module.key.bias.add_(5)
    torch.testing.assert_close(module(x), expected)


def test_heads_share_the_channels_where_a_copy_gives_each_512():
    def count(heads: int) -> int:
        return sum(w.numel() for w in SelfAttention(512, heads=heads, key_bias=True).parameters())

    assert count(8) == count(1) == 4 * (512**2 + 512)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match=r"5 self_attention heads do not divide 16 channels; 1, 2, 4, 8, 16"):
        SelfAttention(16, heads=5)
