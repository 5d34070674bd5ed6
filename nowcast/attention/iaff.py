"""Iterative attentional feature fusion: two maps fused, and fused again by what that gave.

Dai, Gieseke, Oehmcke, Wu and Barnard 2020, arXiv 2009.14082.
"""

from typing import Literal

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._second import SecondMap
from nowcast.attention.ms_cam import MultiScaleChannelAttention

__all__ = ["IterativeAttentionalFusion"]

CARD = Card(
    family="fusion",
    paper="Dai et al., Attentional Feature Fusion",
    source="2009.14082",
    year=2020,
    equation="u = M₁ x + (1 − M₁) y, z = M₂ x + (1 − M₂) y; M₁ = MS-CAM₁(x + y), M₂ = MS-CAM₂(u)",
    time="O(C²N/r)",
    memory="O(CN)",
    note="Of a single map y is a 3×3 convolution of it. The authors' code leaves weights idle: form='code'.",
)


class IterativeAttentionalFusion(nn.Module):
    """Mix two maps by the gate of `ms_cam` on what `aff` makes of them: z = M₂ x + (1 − M₂) y.

    (B, C, H, W), and a second one, → (B, C, H, W). The first round's gate sees the plain sum x + y.

    Args:
        channels: C of both maps.
        reduction: ratio r of the gates' bottlenecks, 4 in the paper.
        form: "paper", or "code", where the second round takes its context G from the first round's weights
            and leaves its own idle.
        branch: whether there is a 3×3 convolution that makes y of x where no y is given. Without it, two maps
            are always needed.
        norm: of the gates, "group", or "batch" as in the paper, which needs more than one sample to train.
        minimum: least width of the gates' bottlenecks.
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
        self.first, self.again = (
            MultiScaleChannelAttention(channels, reduction=reduction, norm=norm, minimum=minimum) for _ in range(2)
        )
        self.shared = form == "code"
        self.second = SecondMap("iaff", channels, branch)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Fuse x with y, or with its own convolution.

        Raises:
            InputError: for maps of different shapes, or one map without a convolution for it.
        """
        y = self.second(x, y)
        fused = y + self.first.gate(x + y) * (x - y)
        gate = self.again.gate(fused, self.first.context if self.shared else None)
        return y + gate * (x - y)
