"""Separable self-attention: one query a pixel, one context a map, linear in the number of pixels.

Mehta and Rastegari 2022, MobileViTv2, arXiv 2206.02680.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from nowcast.attention._block import Residual
from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._patches import cut, joined
from nowcast.attention._size import rows_and_columns

__all__ = ["SeparableSelfAttention"]

CARD = Card(
    family="self-attention",
    paper="Mehta and Rastegari, Separable Self-attention for Mobile Vision Transformers",
    source="2206.02680",
    year=2022,
    equation="y = W_o (δ(W_v x) ⊙ Σₙ softmax_N(w_q x)ₙ (W_k x)ₙ)",
    time="O(C²N)",
    memory="O(CN)",
    note="Pixels at equal place in p × p patches share a context, p = 2 in the paper. Maps of other sizes keep "
    "incomplete patches, where the authors' code stretches the map.",
)

Part = Literal["attention", "block"]


class ContextAttention(nn.Module):
    """Weigh rectified values by a context, the keys averaged under a softmax of scalar queries.

    (B, C, H, W) → (B, C, H, W). There is a context for each place in a patch.
    """

    def __init__(self, channels: int, patch: Sequence[int]) -> None:
        super().__init__()
        self.patch = patch
        self.widths = [1, channels, channels]
        self.query_key_value = nn.Conv2d(channels, sum(self.widths), 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query_key_value(x).split(self.widths, dim=1)
        logits = cut(query, self.patch, fill=torch.finfo(query.dtype).min)
        keys = cut(key, self.patch)
        context = (logits.softmax(dim=3).to(keys.dtype) * keys).sum(dim=3, keepdim=True)
        return self.project(value.relu() * joined(context.expand_as(keys), self.patch, like=x))


class SeparableSelfAttention(nn.Module):
    """Separable self-attention, alone or in the block of MobileViTv2.

    (B, C, H, W) → (B, C, H, W). The block is a depthwise 3×3 convolution, L transformer layers of this
    attention and pointwise layers, each normed over the whole sample and residual, and a 1×1 convolution; it
    has no residual around it.

    Args:
        channels: C.
        part: "attention" alone, or the whole "block".
        patch: rows and columns of a patch, 2 in the paper, one number for squares; 1 shares one context.
        layers: L of the block, 2, 4 and 3 in the paper.
        width: channels between the convolutions of the block; None takes C.
        expansion: ratio of the widths of the pointwise layers.
        norm: of the convolutions of the block; the authors' is "batch".

    Raises:
        InputError: for a patch that is not one or two positive numbers.
    """

    def __init__(
        self,
        channels: int,
        *,
        part: Part = "attention",
        patch: int | Sequence[int] = 2,
        layers: int = 2,
        width: int | None = None,
        expansion: float = 2,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        patch = rows_and_columns("mobilevit_v2", (patch, patch) if isinstance(patch, int) else patch)
        if part == "attention":
            self.body: nn.Module = ContextAttention(channels, patch)
            return
        width = width or channels
        wide = int(expansion * width)
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            norm_layer(norm, channels),
            nn.SiLU(),
            nn.Conv2d(channels, width, 1, bias=False),
        )
        for _ in range(layers):
            pointwise = nn.Conv2d(width, wide, 1), nn.SiLU(), nn.Conv2d(wide, width, 1)
            self.body.append(Residual(nn.GroupNorm(1, width), ContextAttention(width, patch)))
            self.body.append(Residual(nn.GroupNorm(1, width), *pointwise))
        self.body.extend(
            [nn.GroupNorm(1, width), nn.Conv2d(width, channels, 1, bias=False), norm_layer(norm, channels)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)
