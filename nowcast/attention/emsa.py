"""Efficient multi-head self-attention: every pixel attends to a map thinned out by a strided convolution.

Zhang and Yang 2021, ResT, arXiv 2105.13677; second version 2022, arXiv 2204.07366.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._block import ChannelNorm
from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.contracts import InputError

__all__ = ["EfficientMultiHeadSelfAttention"]

CARD = Card(
    family="self-attention",
    paper="Zhang and Yang, ResT: An Efficient Transformer for Visual Recognition",
    source="2105.13677",
    year=2021,
    equation="y = W_o IN(softmax(mix_heads(Q Kᵀ/√d))) V with K, V from LN(conv_s(x))",
    time="O(C²N + CN²/s²)",
    memory="O(hN²/s²), O(CN) without mixing of heads",
    note="The thinned map has ⌈H/s⌉ × ⌈W/s⌉ pixels. Where it has only one, mixed attention is constant.",
)

Version = Literal["v1", "v2"]


class EfficientMultiHeadSelfAttention(nn.Module):
    """Attend from every pixel to a strided depthwise convolution of the map, heads mixed before the softmax.

    (B, C, H, W) → (B, C, H, W). Version 1 mixes the logits of the heads by a 1×1 convolution and
    standardises each head's softmax over its whole map of weights, so that heads stay different but rows no
    longer sum to 1. Version 2 does neither; it adds the values themselves, brought back to full resolution.

    Args:
        channels: C.
        heads: number h of heads; None takes what of 8 divides C.
        ratio: stride s of the convolution, whose side is s + 1; 8, 4, 2 and 1 in the paper on maps of 56, 28,
            14 and 7 rows, which all leave 7; 1 has no convolution.
        version: "v1" (ResT) or "v2" (ResTv2).
        mix_heads: whether heads are mixed and standardised, where there are several (v1).
        mix_bias: whether mixing has a bias, as in the authors' code, which the softmax cancels.

    Raises:
        InputError: for heads that do not divide C, or a ratio below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        ratio: int = 4,
        version: Version = "v1",
        mix_heads: bool = True,
        mix_bias: bool = False,
    ) -> None:
        super().__init__()
        if ratio < 1:
            raise InputError(f"emsa needs a ratio of 1 (no thinning) or more, not {ratio}")
        self.heads, self.ratio = split_into("emsa heads", heads, 8, channels), ratio
        second = version == "v2"
        epsilon = 1e-6 if second else 1e-5
        self.query = nn.Conv2d(channels, channels, 1, bias=second)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1, bias=second)
        project = nn.Conv2d(channels, channels, 1)
        # The two versions publish their weights in different order.
        if not second:
            self.project = project
        self.thin: nn.Module = nn.Identity()
        if ratio > 1:
            conv = nn.Conv2d(channels, channels, ratio + 1, ratio, ratio // 2, groups=channels)
            self.thin = nn.Sequential(conv, ChannelNorm(channels, eps=epsilon))
        self.restore = self.mix = None
        if second:
            self.restore = nn.Sequential(
                nn.Conv2d(channels, ratio**2 * channels, 3, padding=1, groups=channels),
                nn.PixelShuffle(ratio),
                ChannelNorm(channels, eps=epsilon),
            )
            self.project = project
        elif mix_heads and self.heads > 1:
            self.mix = nn.Conv2d(self.heads, self.heads, 1, bias=mix_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        # Zeros up to whole strides are what the convolution sees beyond the border anyway.
        whole = F.pad(x, (0, -width % self.ratio, 0, -height % self.ratio))
        key, value = self.key_value(self.thin(whole)).chunk(2, dim=1)
        y = as_map(self._attended(*map(tokens, (self.query(x), key, value))), x)
        if self.restore is not None:
            y = y + self.restore(value)[:, :, :height, :width]
        return self.project(y)

    def _attended(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        scale = (queries.shape[2] // self.heads) ** -0.5
        if self.mix is None:
            return attend(queries, keys, values, scale=scale, heads=self.heads)
        queries, keys, values = (
            rearrange(rows, "b n (heads d) -> b heads n d", heads=self.heads) for rows in (queries, keys, values)
        )
        weights = at_least_single(self.mix(scale * queries @ keys.mT)).softmax(dim=-1)
        # Every row sums to 1: the mean of the map of weights is known.
        centred = weights - 1 / weights.shape[-1]
        deviation = (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
        return rearrange((centred / deviation).to(values.dtype) @ values, "b heads n d -> b n (heads d)")
