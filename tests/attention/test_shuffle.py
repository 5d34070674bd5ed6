"""Shuffle attention."""

import pytest
import torch

from nowcast.attention.shuffle import ShuffleAttention
from nowcast.contracts import InputError


def sigmoid(logit: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-logit))


@torch.no_grad()
def test_halves_of_each_group_are_gated_and_interleaved_channel_by_channel():
    torch.manual_seed(0)
    module = ShuffleAttention(12, groups=3)  # channels 0, 1 | 2, 3 of a group of four
    for weight in module.parameters():
        torch.nn.init.normal_(weight)
    w1, b1, w2, b2, scale, shift = module.parameters()
    x = torch.randn(2, 12, 3, 5)
    gated = torch.empty_like(x)
    for b in range(2):
        for g in range(3):
            for c in range(2):
                first, second = x[b, 4 * g + c], x[b, 4 * g + 2 + c]
                gated[b, 4 * g + c] = first * sigmoid(w1[c] * first.mean() + b1[c])
                standard = (second - second.mean()) / (second.var(correction=0) + 1e-5) ** 0.5
                logits = w2[c] * (scale[c] * standard + shift[c]) + b2[c]
                gated[b, 4 * g + 2 + c] = second * sigmoid(logits)
    expected = torch.stack([gated[:, i // 2 + 6 * (i % 2)] for i in range(12)], dim=1)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_it_starts_as_a_shuffle_under_one_gate():
    x = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 2, 3)
    y = ShuffleAttention(6)(x) / torch.sigmoid(torch.ones(()))
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([0.0, 3.0, 1.0, 4.0, 2.0, 5.0]))


def test_groups_default_to_what_of_64_leaves_a_channel_in_each_half():
    """The paper's 64 would leave none at C = 64."""
    assert [ShuffleAttention(channels).groups for channels in (6, 48, 64, 96, 128)] == [1, 8, 32, 16, 64]
    with pytest.raises(InputError, match=r"64 shuffle groups .* 16, 32 would do"):
        ShuffleAttention(64, groups=64)
    with pytest.raises(InputError, match="odd"):
        ShuffleAttention(7)


@torch.no_grad()
def test_one_pixel_of_one_sample_in_one_group_is_standardised_to_zero():
    module = ShuffleAttention(6, groups=1)
    torch.nn.init.ones_(module.spatial_weight)
    x = torch.randn(1, 6, 1, 1)
    torch.testing.assert_close(module(x)[:, 1::2], x[:, 3:] * torch.sigmoid(torch.ones(())))
