"""Efficient channel attention."""

import pytest
import torch

from nowcast.attention.eca import EfficientChannelAttention


def test_each_channel_is_gated_by_its_neighbours_means():
    torch.manual_seed(0)
    module = EfficientChannelAttention(6, kernel=5)
    weight = module.mix.weight[0, 0]
    x = torch.randn(2, 6, 3, 4)
    expected = torch.empty_like(x)
    for b in range(2):
        for c in range(6):
            near = sum(weight[j + 2] * x[b, c + j].mean() for j in range(-2, 3) if 0 <= c + j < 6)
            expected[b, c] = torch.sigmoid(near) * x[b, c]
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("channels", "kernel"), [(8, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_follows_the_papers_rule(channels, kernel):
    """(log₂C + 1)/2 is 2, 3.5, 4, 4.5, 5 and 6 here: cut to a whole number, then even ones go up to odd."""
    assert EfficientChannelAttention(channels).mix.kernel_size == (kernel,)


def test_it_has_no_more_weights_than_its_kernel():
    assert sum(weight.numel() for weight in EfficientChannelAttention(64, kernel=9).parameters()) == 9
