"""CoAtNet: an inverted bottleneck for the neighbourhood, then attention with a bias by displacement.

Dai, Liu, Le and Tan 2021, arXiv 2106.04803.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nowcast.attention._block import ChannelNorm, Residual
from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._patches import cut, filling, joined
from nowcast.attention._precision import at_least_single
from nowcast.attention._size import rows_and_columns
from nowcast.attention._split import split_into
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["ConvolutionAndAttention"]

CARD = Card(
    family="hybrid",
    paper="Dai et al., CoAtNet: Marrying Convolution and Attention for All Data Sizes",
    source="2106.04803",
    year=2021,
    equation="z = x + MBConv(x); u = z + Σⱼ softmaxⱼ(qᵢᵀkⱼ/√d + w_{i−j}) vⱼ; y = u + FFN(u)",
    time="O(C²N + CN²), O(C²N + w²CN) in windows",
    memory="O(CN + hN²), O(CN + hw²N) in windows",
    note="w belongs to one map size and is resized (bicubic) to others, unless attention stays in windows. As "
    "w is learnt, training holds the weights of all pairs.",
)

Part = Literal["both", "mbconv", "transformer", "attention"]


class SqueezeExcitation(nn.Module):
    """The gate of channels inside an inverted bottleneck: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.excite = nn.Sequential(
            nn.Linear(channels, width, bias=False),
            nn.GELU(),
            nn.Linear(width, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * rearrange(self.excite(x.mean(dim=(2, 3))), "b c -> b c 1 1")


class RelativeAttention(nn.Module):
    """Multi-head self-attention with a learnt bias for each displacement: (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        heads: with a table of biases each.
        size: rows and columns of the map that the table is learnt for, or of a window.
        windowed: whether each window attends to itself alone.
    """

    def __init__(self, channels: int, heads: int, size: tuple[int, int], windowed: bool) -> None:
        super().__init__()
        self.heads, self.size, self.windowed = heads, size, windowed
        displacements = (2 * size[0] - 1) * (2 * size[1] - 1)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(displacements, heads), std=0.02))
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = self.size if self.windowed else (x.shape[2], x.shape[3])
        three = self.query_key_value(x)
        outside, patches = filling(three, window), cut(three, window)
        queries, keys, values = rearrange(
            patches, "b (three heads d) p m -> three b (m heads) p d", three=3, heads=self.heads
        ).contiguous()
        bias = self.pairs(*window).to(keys.dtype)
        if outside is None:
            bias = repeat(bias, "heads i j -> 1 (m heads) i j", m=patches.shape[3])
        else:
            bias = rearrange(bias + rearrange(outside, "p m -> m 1 1 p"), "m heads i j -> 1 (m heads) i j")
        averages = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=keys.shape[3] ** -0.5)
        averages = rearrange(averages, "b (m heads) p d -> b (heads d) p m", heads=self.heads)
        return self.project(joined(averages, window, like=x))

    def pairs(self, height: int, width: int) -> torch.Tensor:
        """The bias w_{i−j} between all pixels i and j of a map of this size, (heads, N, N)."""
        table = rearrange(at_least_single(self.bias), "(h w) heads -> 1 heads h w", h=2 * self.size[0] - 1)
        (table,) = F.interpolate(table, (2 * height - 1, 2 * width - 1), mode="bicubic")
        # Of the mirrored table, the map that starts at mirrored displacement −i has that of i − j at j.
        maps = table.flip(1, 2).unfold(1, height, 1).unfold(2, width, 1).flip(1, 2)
        return rearrange(maps, "heads h w i j -> heads (h w) (i j)")


class ConvolutionAndAttention(nn.Module):
    """An inverted bottleneck and a transformer layer with relative attention, each with residuals.

    (B, C, H, W) → (B, C, H, W). The bottleneck (MBConv) is norm, 1×1 convolution to 4C, depthwise 3×3,
    squeeze-and-excitation of width C/4, and 1×1 back. The transformer layer is attention with biases by
    displacement, then a perceptron of width 4C, both with layer norm first.

    Args:
        channels: C.
        part: "both" in turn, one of them alone ("mbconv", "transformer"), or the "attention" alone, without
            norm and residual.
        heads: of the attention; None takes what of 8 divides C.
        size: rows and columns (h, w) of the map that the (2h−1)(2w−1) biases of a head are learnt for, 14 ×
            14 for the paper's first attention; on maps of other sizes the table is resized.
        window: side of square windows that attend to themselves alone, for large maps; their biases are never
            resized. None attends to the whole map, as in the paper.
        norm: in the bottleneck; the authors' is "batch".

    Raises:
        InputError: for heads that do not divide C, a size that is not two positive numbers, or a window
            below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        part: Part = "both",
        heads: int | None = None,
        size: Sequence[int] = (14, 14),
        window: int | None = None,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        heads = split_into("coatnet heads", heads, 8, channels)
        if window is not None and window < 1:
            raise InputError(f"coatnet needs a window of 1 pixel or more, or None, not {window}")
        size = rows_and_columns("coatnet", (window, window) if window else size)
        wide = 4 * channels
        self.body = nn.Sequential()
        if part in ("both", "mbconv"):
            self.body.append(
                Residual(
                    norm_layer(norm, channels),
                    nn.Conv2d(channels, wide, 1, bias=False),
                    norm_layer(norm, wide),
                    nn.GELU(),
                    nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
                    norm_layer(norm, wide),
                    nn.GELU(),
                    SqueezeExcitation(wide, reduced(channels, 4, 1)),
                    nn.Conv2d(wide, channels, 1, bias=False),
                    norm_layer(norm, channels),
                )
            )
        if part == "attention":
            self.body.append(RelativeAttention(channels, heads, size, bool(window)))
        if part in ("both", "transformer"):
            attention = RelativeAttention(channels, heads, size, bool(window))
            perceptron = nn.Conv2d(channels, wide, 1), nn.GELU(), nn.Conv2d(wide, channels, 1)
            self.body.append(Residual(ChannelNorm(channels), attention))
            self.body.append(Residual(ChannelNorm(channels), *perceptron))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)
