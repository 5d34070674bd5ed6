"""Asymmetric non-local network's head: fusion with a lower map, then attention to the fused map's own cells.

Zhu, Xu, Bai, Huang and Bai 2019, arXiv 1908.07678.
"""

from collections.abc import Sequence

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm
from nowcast.attention._pyramid import GRIDS
from nowcast.attention.afnb import AsymmetricFusionNonLocal
from nowcast.attention.apnb import AsymmetricPyramidNonLocal

__all__ = ["AsymmetricNonLocal"]

CARD = Card(
    family="self-attention",
    paper="Zhu et al., Asymmetric Non-local Neural Networks for Semantic Segmentation",
    source="1908.07678",
    year=2019,
    equation="y = APNB(δ(norm(conv₃ AFNB(x, low))))",
    time="O(SCN + C²N), S = 110 cells",
    memory="O(CN)",
    note="The paper's 3×3 convolution narrows 2048 channels to 512; here C remains. No dropout.",
)


class AsymmetricNonLocal(nn.Module):
    """Both asymmetric blocks as their paper stacks them: y = APNB(δ(norm(conv AFNB(x, low)))).

    (B, C, H, W) → (B, C, H, W), and a lower map of any size.

    Args:
        channels: C.
        low_channels: of the lower map; None where it has C, as x has, which stands in for it.
        reduction: C over the width of queries, keys and values.
        grids: cells along a side of each grid, (1, 3, 6, 8) in the paper.
        norm: "batch" in the paper.
        minimum: least width.

    Raises:
        InputError: for no grid, or one below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        low_channels: int | None = None,
        reduction: int = 4,
        grids: Sequence[int] = GRIDS,
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        self.fusion = AsymmetricFusionNonLocal(
            channels,
            low_channels=low_channels,
            reduction=reduction,
            grids=grids,
            norm=norm,
            minimum=minimum,
        )
        self.between = conv_norm_relu(channels, channels, 3, norm)
        self.pyramid = AsymmetricPyramidNonLocal(channels, reduction=reduction, grids=grids, norm=norm, minimum=minimum)

    def forward(self, x: torch.Tensor, low: torch.Tensor | None = None) -> torch.Tensor:
        """As afnb's, with the same refusals."""
        return self.pyramid(self.between(self.fusion(x, low)))
