"""MobileViT block: convolutions for the neighbourhood, a transformer between patches for the rest.

Mehta and Rastegari 2021, arXiv 2110.02178.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nowcast.attention._block import ChannelNorm, Residual
from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._patches import cut, filling, joined
from nowcast.attention._size import rows_and_columns
from nowcast.attention._split import split_into

__all__ = ["MobileViTBlock"]

CARD = Card(
    family="hybrid",
    paper="Mehta and Rastegari, MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
    source="2110.02178",
    year=2021,
    equation="y = conv₃([x; W₂ transformer_patches(W₁ conv₃(x))])",
    time="O(C²N + dN²/P)",
    memory="O((C + d)N)",
    note="P pixels a patch. Maps of other sizes keep incomplete patches, where the authors' code stretches the map.",
)


class PatchAttention(nn.Module):
    """Multi-head self-attention among the pixels at equal place in their patches.

    (B, C, H, W) → (B, C, H, W).
    """

    def __init__(self, channels: int, heads: int, patch: Sequence[int]) -> None:
        super().__init__()
        self.heads, self.patch = heads, patch
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        three = self.query_key_value(x)
        outside = filling(three, self.patch)
        if outside is not None:
            outside = repeat(outside, "p m -> (b p) 1 1 m", b=len(x))
        patches = cut(three, self.patch)
        queries, keys, values = rearrange(
            patches, "b (three heads d) p m -> three (b p) heads m d", three=3, heads=self.heads
        ).contiguous()
        averages = F.scaled_dot_product_attention(queries, keys, values, attn_mask=outside, scale=keys.shape[3] ** -0.5)
        averages = rearrange(averages, "(b p) heads m d -> b (heads d) p m", b=len(x))
        return self.project(joined(averages, self.patch, like=x))


class MobileViTBlock(nn.Module):
    """Let pixels at equal place in their patches attend to each other, between convolutions.

    (B, C, H, W) → (B, C, H, W). A 3×3 and a 1×1 convolution to d channels tell each pixel of its patch; L
    transformer layers run between patches, P sequences side by side; a 1×1 convolution brings the result
    back to C, and a 3×3 convolution fuses it with the input.

    Args:
        channels: C.
        patch: rows and columns of a patch, 2 in the paper, one number for squares.
        width: d; None takes 3C/2, as in the paper.
        layers: L, 2, 4 and 3 in the paper.
        heads: of the attention; None takes what of 4 divides d.
        expansion: ratio of the widths of the pointwise layers, 2 in the paper.
        norm: of the convolutions; the authors' is "batch".

    Raises:
        InputError: for heads that do not divide d, or a patch that is not one or two positive numbers.
    """

    def __init__(
        self,
        channels: int,
        *,
        patch: int | Sequence[int] = 2,
        width: int | None = None,
        layers: int = 2,
        heads: int | None = None,
        expansion: float = 2,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        patch = rows_and_columns("mobilevit", (patch, patch) if isinstance(patch, int) else patch)
        width = width or 3 * channels // 2
        heads = split_into("mobilevit heads", heads, 4, width)
        wide = int(expansion * width)
        self.tell = nn.Sequential(*convolution(channels, channels, 3, norm), nn.Conv2d(channels, width, 1, bias=False))
        self.transform = nn.Sequential()
        for _ in range(layers):
            pointwise = nn.Conv2d(width, wide, 1), nn.SiLU(), nn.Conv2d(wide, width, 1)
            self.transform.append(Residual(ChannelNorm(width), PatchAttention(width, heads, patch)))
            self.transform.append(Residual(ChannelNorm(width), *pointwise))
        self.transform.append(ChannelNorm(width))
        self.narrow = convolution(width, channels, 1, norm)
        self.fuse = convolution(2 * channels, channels, 3, norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.narrow(self.transform(self.tell(x)))
        return self.fuse(torch.cat([x, y], dim=1))


def convolution(channels: int, width: int, kernel: int, norm: Norm) -> nn.Sequential:
    """Convolution, norm and swish: (B, channels, H, W) → (B, width, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        norm_layer(norm, width),
        nn.SiLU(),
    )
