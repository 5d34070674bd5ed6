"""Shuffle attention: half of each group of channels gated by channel, half by place, then shuffled.

Zhang and Yang 2021, arXiv 2102.00240.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["ShuffleAttention"]

CARD = Card(
    family="mixed",
    paper="Zhang and Yang, SA-Net: Shuffle Attention for Deep Convolutional Neural Networks",
    source="2102.00240",
    year=2021,
    equation="groups [a; b] → [a ⊙ σ(w₁ GAP(a) + b₁); b ⊙ σ(w₂ GN(b) + b₂)], then halves of C interleave",
    time="O(CN)",
    memory="O(CN)",
)


class ShuffleAttention(nn.Module):
    """Gate the first half of each group of channels by its means, the second half by its standardised values.

    (B, C, H, W) → (B, C, H, W). With group g = [a; b], a ⊙ σ(w₁ GAP(a) + b₁) has a gate a channel and
    b ⊙ σ(w₂ GN(b) + b₂) a gate a value, where GN standardises each channel over the map and has its own scale
    and shift. All groups share these 6 · C/(2G) weights. At last channel i of the first half of all channels
    is put beside channel i of the second (a shuffle by two), so that groups meet in the next layer.

    Args:
        channels: C, even.
        groups: G, 64 in the paper; None takes the greatest common divisor of 64 and C/2.

    Raises:
        InputError: for odd C, or when 2G does not divide C.
    """

    def __init__(self, channels: int, *, groups: int | None = None) -> None:
        super().__init__()
        if channels % 2:
            raise InputError(f"shuffle halves groups of channels; {channels} is odd, {channels + 1} would do")
        self.groups = split_into("shuffle groups of channel pairs", groups, 64, channels // 2)
        width = channels // (2 * self.groups)
        # w = 0 and b = 1 at first, as the authors start: one gate σ(1) everywhere.
        self.channel_weight = nn.Parameter(torch.zeros(width))
        self.channel_bias = nn.Parameter(torch.ones(width))
        self.spatial_weight = nn.Parameter(torch.zeros(width))
        self.spatial_bias = nn.Parameter(torch.ones(width))
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = rearrange(x, "b (g half c) h w -> half b g c h w", g=self.groups, half=2)
        by_channel, by_place = halves.unbind()
        means = by_channel.mean(dim=(3, 4), keepdim=True)
        by_channel = by_channel * torch.sigmoid(affine(means, self.channel_weight, self.channel_bias))
        normed = affine(standardise(by_place), self.norm_weight, self.norm_bias)
        by_place = by_place * torch.sigmoid(affine(normed, self.spatial_weight, self.spatial_bias))
        gated = rearrange([by_channel, by_place], "half b g c h w -> b (g half c) h w")
        return rearrange(gated, "b (two c) h w -> b (c two) h w", two=2)


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Scale and shift of each channel of a group: (B, G, c, H, W) → (B, G, c, H, W)."""
    return x * rearrange(weight, "c -> c 1 1") + rearrange(bias, "c -> c 1 1")


def standardise(x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    """Each channel with mean 0 and variance 1 over its map; a single pixel, refused by GroupNorm, gives 0."""
    variance, mean = torch.var_mean(x, dim=(-2, -1), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)
