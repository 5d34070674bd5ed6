"""Attentional feature fusion: two maps mixed value by value, by a gate that sees both.

Dai, Gieseke, Oehmcke, Wu and Barnard 2020, arXiv 2009.14082.
"""

from typing import Literal

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._second import SecondMap
from nowcast.attention.ms_cam import MultiScaleChannelAttention

__all__ = ["AttentionalFusion"]

CARD = Card(
    family="fusion",
    paper="Dai et al., Attentional Feature Fusion",
    source="2009.14082",
    year=2020,
    equation="z = M x + (1 − M) y, M = σ(L(x + y) + G(GAP(x + y)))",
    time="O(C²N/r)",
    memory="O(CN)",
    note="Of a single map y is a 3×3 convolution of it. The authors' code doubles z.",
)


class AttentionalFusion(nn.Module):
    """Mix two maps by the gate of `ms_cam` on their sum: z = M x + (1 − M) y.

    (B, C, H, W), and a second one, → (B, C, H, W).

    Args:
        channels: C of both maps.
        reduction: ratio r of the gate's bottlenecks, 4 in the paper.
        form: "paper", or "code", which gives 2z.
        branch: whether there is a 3×3 convolution that makes y of x where no y is given. Without it, two maps
            are always needed.
        norm: of the gate, "group", or "batch" as in the paper, which needs more than one sample to train.
        minimum: least width of the gate's bottlenecks.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        form: Literal["paper", "code"] = "paper",
        branch: bool = True,
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        self.scale = 2.0 if form == "code" else 1.0
        self.attention = MultiScaleChannelAttention(channels, reduction=reduction, norm=norm, minimum=minimum)
        self.second = SecondMap("aff", channels, branch)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Fuse x with y, or with its own convolution.

        Raises:
            InputError: for maps of different shapes, or one map without a convolution for it.
        """
        y = self.second(x, y)
        return self.scale * (y + self.attention.gate(x + y) * (x - y))
