"""Attention on the three planes of a map: (C, H), (C, W) and (H, W).

A proposal of the survey that this library follows, on the planes of triplet attention (Misra et al. 2020,
arXiv 2010.03045) and criss-cross attention (Huang et al. 2019, arXiv 1811.11721).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._cross import attend_across
from nowcast.attention.triplet import Plane, TripletAttention
from nowcast.contracts import InputError

__all__ = ["PlanePairAttention"]

CARD = Card(
    family="mixed",
    paper="Survey's proposal, after Misra et al., Rotate to Attend: Convolutional Triplet Attention Module",
    source="2010.03045",
    year=2020,
    equation="parallel: y = ⅓ Σ aₚ(x) over the planes; series: y = a_hw(a_ch(a_cw(x))); a a gate or criss-cross",
    time="O(CN + k²(CH + CW + HW)) gates, O(CN(C + H + W)) criss-cross",
    memory="O(CN) gates, O(CN + N(C + H) + N(C + W) + C²(H + W)) criss-cross",
    note="Not a published mechanism, but parallel gates are `triplet`. Criss-cross has no projections, as the "
    "features of a plane are H or W long, so that no weight belongs to one map size.",
)

Weights = Literal["gate", "criss_cross"]
Order = Literal["parallel", "series"]

# The axis that a plane lacks holds the features of its points.
TURN = {"cw": "b c h w -> b h c w", "hc": "b c h w -> b w h c", "hw": "b c h w -> b c h w"}
BACK = {"cw": "b h c w -> b c h w", "hc": "b w h c -> b c h w", "hw": "b c h w -> b c h w"}


class PlaneCrissCross(nn.Module):
    """Add to each point of a plane an average of the points in line with it: y = x + γ softmax(τ x xᵀ/√d) x.

    (B, C, H, W) → (B, C, H, W). A point's features are the d values along the third axis. γ starts at 0,
    τ at 1.
    """

    def __init__(self, plane: Plane) -> None:
        super().__init__()
        self.plane = plane
        self.gamma = nn.Parameter(torch.zeros(1))
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        points = rearrange(x, TURN[self.plane])
        queries = self.temperature * points.shape[1] ** -0.5 * points
        return x + self.gamma * rearrange(attend_across(queries, points, points), BACK[self.plane])


class PlanePairAttention(nn.Module):
    """Attend on each plane of the map, by gates or by criss-cross attention, side by side or in turn.

    (B, C, H, W) → (B, C, H, W). A gate is that of `triplet`; criss-cross attention is that of `criss_cross`
    with the points themselves as queries, keys and values. Channels are an axis of two planes.

    Args:
        channels: C; no weight depends on it.
        weights: "gate" or "criss_cross".
        order: "parallel" is the mean of what the planes give, "series" one plane after the other.
        planes: some of "cw", "hc" and "hw", in the order of a series.
        kernel: odd size of the gates' convolutions.

    Raises:
        InputError: for an even kernel or for planes that do not exist or come twice.
    """

    def __init__(
        self,
        channels: int,
        *,
        weights: Weights = "gate",
        order: Order = "parallel",
        planes: Sequence[Plane] = ("cw", "hc", "hw"),
        kernel: int = 7,
    ) -> None:
        super().__init__()
        if not planes or not set(planes) <= set(TURN) or len(set(planes)) < len(planes):
            raise InputError(f"plane_pair planes are some of {', '.join(TURN)}, each once, not {list(planes)}")
        self.parallel = order == "parallel"
        self.on = nn.ModuleDict()
        for plane in planes:
            gated = weights == "gate"
            self.on[plane] = (
                TripletAttention(channels, kernel=kernel, planes=[plane]) if gated else PlaneCrissCross(plane)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.parallel:
            return torch.stack([attention(x) for attention in self.on.values()]).mean(dim=0)
        for attention in self.on.values():
            x = attention(x)
        return x
