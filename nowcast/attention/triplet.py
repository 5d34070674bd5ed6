"""Triplet attention: the three planes of a map, each gated along the axis it lacks.

Misra, Nalamada, Arasanipalai and Hou 2020, arXiv 2010.03045.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention.cbam import SpatialGate
from nowcast.contracts import InputError

__all__ = ["TripletAttention"]

CARD = Card(
    family="mixed",
    paper="Misra et al., Rotate to Attend: Convolutional Triplet Attention Module",
    source="2010.03045",
    year=2020,
    equation="y = x ⊙ ⅓ Σ σ(BN conv₇([max; mean] of the third axis)) over the planes (C,W), (H,C), (H,W)",
    time="O(CN + k²(CH + CW + HW))",
    memory="O(CH + CW + HW)",
)

Plane = Literal["cw", "hc", "hw"]

# The axis that a plane lacks takes the place of channels: it is pooled.
TURN = {"cw": "b c h w -> b h c w", "hc": "b c h w -> b w h c", "hw": "b c h w -> b c h w"}
BACK = {"cw": "b 1 c w -> b c 1 w", "hc": "b 1 h c -> b c h 1", "hw": "b 1 h w -> b 1 h w"}


class TripletAttention(nn.Module):
    """Gate by the mean of three gates, one for each plane of the map.

    (B, C, H, W) → (B, C, H, W). A plane's gate is CBAM's spatial gate of the turned map: the third axis is
    pooled to its maximum and mean, then convolution, batch norm and σ. Turning is a view and pooling comes
    first, so no turned copy of the map is made. Channels are an axis of two planes: their order matters.

    Args:
        channels: C; no weight depends on it.
        kernel: odd size of the convolutions, 7 in the paper.
        planes: some of "cw", "hc" and "hw"; all three in the paper, the authors' `no_spatial` omits "hw".

    Raises:
        InputError: for an even kernel or for planes that do not exist.
    """

    def __init__(self, channels: int, *, kernel: int = 7, planes: Sequence[Plane] = ("cw", "hc", "hw")) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"triplet needs an odd kernel, not {kernel}: an even one shifts the plane")
        if not planes or not set(planes) <= set(TURN):
            raise InputError(f"triplet planes are some of {', '.join(TURN)}, not {list(planes)}")
        self.gates = nn.ModuleDict({plane: SpatialGate(kernel, norm=True) for plane in planes})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = [rearrange(gate(rearrange(x, TURN[plane])), BACK[plane]) for plane, gate in self.gates.items()]
        return x * (sum(gates) / len(gates))
