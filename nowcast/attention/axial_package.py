"""Axial attention of the package axial-attention: multi-head attention along each axis, then a sum.

Ho, Kalchbrenner, Weissenborn and Salimans 2019, arXiv 1912.12180; Wang's package of that name, version 0.6.1.
"""

from collections.abc import Sequence
from typing import Literal

import axial_attention
import torch
import torch.nn.functional as F
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._size import rows_and_columns
from nowcast.attention._split import split_into

__all__ = ["PackagedAxialAttention"]

CARD = Card(
    family="self-attention",
    paper="Ho et al., Axial Attention in Multidimensional Transformers",
    source="1912.12180",
    year=2019,
    equation="y = Σ over the axes of W_o [softmax(Q₁K₁ᵀ/√d) V₁; …; softmax(QₕKₕᵀ/√d) Vₕ] along the axis",
    time="O(CN(H + W) + C²N)",
    memory="O(hN max(H, W) + CN)",
    note="What MetNet-style networks use. Nothing is added to x. One map size is native to learnt positions, "
    "which are interpolated to others.",
)

Order = Literal["sum", "sequence"]


class LearntPositions(axial_attention.AxialPositionalEmbedding):
    """The package's learnt vectors of rows and columns, added to maps of any size: (…, C, H, W) → (…, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        rows = F.interpolate(self.param_0, (height, 1), mode="bilinear")
        columns = F.interpolate(self.param_1, (1, width), mode="bilinear")
        return x + rows + columns


class PackagedAxialAttention(nn.Module):
    """The package's AxialAttention: multi-head attention along columns and along rows, without x itself.

    (B, C, H, W) → (B, C, H, W), or with `frames` (B, T, C, H, W) → (B, T, C, H, W).

    Args:
        channels: C.
        heads: number of heads; None takes what of 8, the package's, divides C.
        head_width: of queries, keys and values in a head; None is C / heads.
        order: "sum" of all axes, or "sequence": columns first, then rows.
        frames: whether maps come as sequences, with time as the first axis.
        size: rows and columns of the map that positions are learnt for, one vector a row and one a column,
            added to x; None has no positions.

    Raises:
        InputError: for heads that do not divide C, or a size that is none.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        head_width: int | None = None,
        order: Order = "sum",
        frames: bool = False,
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.positions = (
            nn.Identity() if size is None else LearntPositions(channels, rows_and_columns("axial_package", size))
        )
        self.attend = axial_attention.AxialAttention(
            dim=channels,
            num_dimensions=3 if frames else 2,
            heads=split_into("axial_package heads", heads, 8, channels),
            dim_heads=head_width,
            dim_index=2 if frames else 1,
            sum_axial_out=order == "sum",
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attend(self.positions(x))
