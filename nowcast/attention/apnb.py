"""Asymmetric pyramid non-local block: pixels attend to the cells of a few coarse grids.

Zhu, Xu, Bai, Huang and Bai 2019, arXiv 1908.07678.
"""

from collections.abc import Sequence

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm
from nowcast.attention._pyramid import GRIDS, PyramidAttention
from nowcast.attention._width import reduced

__all__ = ["AsymmetricPyramidNonLocal"]

CARD = Card(
    family="self-attention",
    paper="Zhu et al., Asymmetric Non-local Neural Networks for Semantic Segmentation",
    source="1908.07678",
    year=2019,
    equation="y = δ(norm(W [W_v softmax(Q P(K)ᵀ/√d) P(V); x])), P pools to 1, 3², 6², 8² cells, Q = K",
    time="O(SCN + C²N), S = 110 cells",
    memory="O(CN)",
    note="Grids finer than the map repeat pixels. Dropout is left to the network around it.",
)


class AsymmetricPyramidNonLocal(nn.Module):
    """Fuse with every pixel what it finds in the cells of coarse grids: y = δ(norm(W [context; x])).

    (B, C, H, W) → (B, C, H, W). One transform gives queries and, pooled, keys. The context starts at 0.

    Args:
        channels: C.
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
        reduction: int = 4,
        grids: Sequence[int] = GRIDS,
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.attention = PyramidAttention(channels, None, width, grids, norm)
        self.fuse = conv_norm_relu(2 * channels, channels, 1, norm, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fuse(torch.cat([self.attention(x, x), x], dim=1))
