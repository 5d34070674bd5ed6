"""Parallel multi-scale attention: softmax attention beside convolutions of the same values.

Zhao, Sun, Xu, Zhang and Luo 2019, MUSE, arXiv 1911.09483.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.contracts import InputError

__all__ = ["ParallelMultiScaleAttention"]

CARD = Card(
    family="hybrid",
    paper="Zhao et al., MUSE: Parallel Multi-Scale Attention for Sequence to Sequence Learning",
    source="1911.09483",
    year=2019,
    equation="y = W_o softmax(QKᵀ/√d) V + Σᵢ softmax(g)ᵢ convᵢ(V)",
    time="O(CN² + C²N)",
    memory="O(CN), O(k²CN) dynamic",
    note="Convolutions are of the map, not of a sequence as in the paper, unless along='raster'. The "
    "feed-forward branch of the paper's block is left to the network.",
)

Form = Literal["static", "dynamic"]
Along = Literal["map", "raster"]


class DynamicConvolution(nn.Module):
    """Average each pixel's window under weights it predicts for each head: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, heads: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.predict = nn.Conv2d(channels, heads * kernel[0] * kernel[1], 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = rearrange(self.predict(x), "b (heads offset) h w -> b heads offset (h w)", heads=self.heads)
        windows = F.unfold(x, self.kernel, padding=(self.kernel[0] // 2, self.kernel[1] // 2))
        windows = rearrange(
            windows, "b (heads d offset) n -> b heads d offset n", heads=self.heads, d=x.shape[1] // self.heads
        )
        averages = (windows * weights.softmax(dim=2).unsqueeze(2)).sum(dim=3)
        return rearrange(averages, "b heads d (h w) -> b (heads d) h w", h=x.shape[2])


class ParallelMultiScaleAttention(nn.Module):
    """Attend to the whole map and convolve the same values at several sizes, in learnt shares.

    (B, C, H, W) → (B, C, H, W). Static convolutions are depthwise, then 1×1, and are added to what attention
    gives. Dynamic ones, the paper's, average windows under a softmax of weights that each pixel predicts for
    each head; they stand beside what attention gives and are projected together.

    Args:
        channels: C.
        heads: number of heads; None takes what of 8 divides C.
        form: "static", as in a popular copy (there with shares that cannot learn), or the paper's "dynamic".
        kernels: odd sizes of the convolutions; None takes 1, 3 and 5 (static) or 3 and 7 (dynamic, where the
            paper has 3 and 15 words).
        along: the "map" in both directions, or the "raster" of pixels, row after row, as if it were the
            paper's sentence.
        key_bias: whether keys have a bias (static), which the softmax cancels; the paper's have.

    Raises:
        InputError: for heads that do not divide C, even kernels or none, or a dynamic kernel of 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        form: Form = "static",
        kernels: Sequence[int] | None = None,
        along: Along = "map",
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        self.heads = split_into("muse heads", heads, 8, channels)
        self.form, self.along = form, along
        kernels = ((1, 3, 5) if form == "static" else (3, 7)) if kernels is None else kernels
        if not kernels or any(kernel % 2 == 0 for kernel in kernels):
            raise InputError(f"muse needs odd kernels, such as 3 and 5, not {list(kernels)}")
        if form == "dynamic" and min(kernels) < 3:
            raise InputError(f"dynamic muse needs kernels of 3 or more, not {list(kernels)}: one weight is always 1")
        shares = nn.ParameterList([torch.ones(len(kernels))])
        sides = [(kernel if along == "map" else 1, kernel) for kernel in kernels]
        if form == "static":
            self.shares = shares
            self.split = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=bias) for bias in (True, key_bias, True))
            self.project = nn.Conv2d(channels, channels, 1)
            self.convolve = nn.ModuleList(separable(channels, side) for side in sides)
        else:
            self.split = nn.ModuleList([nn.Conv2d(channels, 3 * channels, 1)])
            self.shares = shares
            self.convolve = nn.ModuleList(DynamicConvolution(channels, self.heads, side) for side in sides)
            self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.along == "map":
            return self._mixed(x)
        return self._mixed(rearrange(x, "b c h w -> b c 1 (h w)")).unflatten(3, x.shape[2:]).squeeze(2)

    def _mixed(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (part for layer in self.split for part in layer(x).chunk(3 // len(self.split), dim=1))
        scale = (x.shape[1] // self.heads) ** -0.5
        averages = attend(tokens(query), tokens(key), tokens(value), scale=scale, heads=self.heads)
        context = as_map(averages, like=x)
        shares = self.shares[0].softmax(dim=0)
        local = sum(share * conv(value) for share, conv in zip(shares, self.convolve, strict=True))
        if self.form == "static":
            return self.project(context) + local
        return self.project(torch.cat([context, local], dim=1))


def separable(channels: int, kernel: tuple[int, int]) -> nn.Sequential:
    """A depthwise convolution, where the kernel is more than one pixel, then a 1×1 convolution."""
    layers = nn.Sequential()
    if kernel[1] > 1:
        padding = kernel[0] // 2, kernel[1] // 2
        layers.append(nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels))
    return layers.append(nn.Conv2d(channels, channels, 1))
