"""Channel self-attention."""

import math

import pytest
import torch

from nowcast.attention.channel_self_attention import ChannelSelfAttention


def projected(pixels: torch.Tensor, conv: torch.nn.Conv2d) -> torch.Tensor:
    """(N, C) → (C, N), pixel by pixel."""
    return torch.stack([conv.weight[:, :, 0, 0] @ pixel + conv.bias for pixel in pixels], dim=1)


@torch.no_grad()
@pytest.mark.parametrize("projected_skip", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_is_the_formula_channel_by_channel(scaled, projected_skip):
    torch.manual_seed(0)
    module = ChannelSelfAttention(4, scaled=scaled, projected_skip=projected_skip)
    module.gamma.fill_(0.7)
    x = torch.randn(2, 4, 3, 2)
    for b in range(2):
        pixels = x[b].flatten(1).T
        query, key, value = (projected(pixels, conv) for conv in (module.query, module.key, module.value))
        skip = projected(pixels, module.skip) if projected_skip else x[b].flatten(1)
        for i in range(4):
            odds = [torch.exp(query[i] @ key[j] / (math.sqrt(6) if scaled else 1)) for j in range(4)]
            context = sum(odd * value[j] for j, odd in enumerate(odds)) / sum(odds)
            torch.testing.assert_close(module(x)[b, i].flatten(), skip[i] + 0.7 * context)


def test_it_is_the_identity_at_first():
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(ChannelSelfAttention(8)(x), x)


@torch.no_grad()
def test_without_a_question_every_channel_gets_the_mean_of_the_values():
    torch.manual_seed(0)
    module = ChannelSelfAttention(6)
    module.gamma.fill_(1)
    torch.nn.init.zeros_(module.query.weight)
    torch.nn.init.zeros_(module.query.bias)
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(module(x), x + module.value(x).mean(dim=1, keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize(("scaled", "growth"), [(False, 4), (True, 2)])
def test_logits_of_a_map_repeated_four_times_grow_by_four_or_by_its_root(scaled, growth):
    """Unscaled, weights of large maps come down to a single one."""
    torch.manual_seed(0)
    module = ChannelSelfAttention(6, scaled=scaled)
    module.gamma.fill_(1)
    x = torch.randn(1, 6, 3, 4)
    large = module(x.repeat(1, 1, 2, 2))
    module.query.weight.mul_(growth)
    module.query.bias.mul_(growth)
    torch.testing.assert_close(large, module(x).repeat(1, 1, 2, 2))
