"""Asymmetric fusion non-local block: pixels attend to the cells of a map from an earlier layer.

Zhu, Xu, Bai, Huang and Bai 2019, arXiv 1908.07678.
"""

from collections.abc import Sequence

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._pyramid import GRIDS, PyramidAttention
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["AsymmetricFusionNonLocal"]

CARD = Card(
    family="fusion",
    paper="Zhu et al., Asymmetric Non-local Neural Networks for Semantic Segmentation",
    source="1908.07678",
    year=2019,
    equation="y = norm(W [W_v softmax(Q(x) P(K(low))ᵀ/√d) P(V(low)); x]), P pools to 1, 3², 6², 8² cells",
    time="O(SCN + C²N), S = 110 cells",
    memory="O(CN)",
    note="Without a second map it attends to x. Dropout is left to the network around it.",
)


class AsymmetricFusionNonLocal(nn.Module):
    """Fuse with every pixel of x what it finds in the cells of a lower map: y = norm(W [context; x]).

    (B, C, H, W) → (B, C, H, W), and a lower map of any size. The context starts at 0.

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
        self.low_channels = channels if low_channels is None else low_channels
        width = reduced(channels, reduction, minimum)
        self.attention = PyramidAttention(channels, self.low_channels, width, grids, norm)
        self.fuse = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), norm_layer(norm, channels))

    def forward(self, x: torch.Tensor, low: torch.Tensor | None = None) -> torch.Tensor:
        """Fuse x with `low`, (B, low_channels, any, any), or with itself.

        Raises:
            InputError: for a lower map of other channels than it was built for.
        """
        low = x if low is None else low
        if low.shape[1] != self.low_channels:
            raise InputError(f"afnb was built for a lower map of {self.low_channels} channels, not {low.shape[1]}")
        return self.fuse(torch.cat([self.attention(x, low), x], dim=1))
