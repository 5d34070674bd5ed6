"""Concurrent spatial and channel squeeze and excitation.

Roy, Navab and Wachinger 2018, arXiv 1803.02579.
"""

from collections.abc import Callable
from typing import Literal

import torch
from einops import reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced

__all__ = ["ConcurrentSqueezeExcitation"]

CARD = Card(
    family="mixed",
    paper="Roy et al., Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
    source="1803.02579",
    year=2018,
    equation="y = x ⊙ σ(W₂ δ(W₁ GAP x)) + x ⊙ σ(w·x)",
    time="O(CN + C²/r)",
    memory="O(CN)",
    note="The paper adds the two maps, its journal form and package take the larger value; either by option.",
)

Part = Literal["scse", "cse", "sse"]
Combine = Literal["sum", "max", "product"]

COMBINE: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sum": torch.add,
    "max": torch.maximum,
    "product": torch.mul,
}


class ConcurrentSqueezeExcitation(nn.Module):
    """Gate channels by all channel means, positions by their own channels, and put both maps together.

    (B, C, H, W) → (B, C, H, W). cSE(x) = x ⊙ σ(W₂ δ(W₁ GAP x)) is `se` with biases; sSE(x) = x ⊙ σ(w·x + b)
    has one gate a position.

    Args:
        channels: C.
        reduction: ratio r of the channel bottleneck, 2 in the paper.
        part: "scse" for both, or one alone, "cse" or "sse".
        combine: how both maps become one: "sum" (paper), "max" of the two at each value, or "product".
        minimum: least width of the bottleneck.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 2,
        part: Part = "scse",
        combine: Combine = "sum",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        self.combine = combine
        width = reduced(channels, reduction, minimum)
        gates: dict[str, nn.Module] = {}
        if part != "sse":
            gates["channel"] = nn.Sequential(
                nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1), nn.Sigmoid()
            )
        if part != "cse":
            gates["spatial"] = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())
        self.gates = nn.ModuleDict(gates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = []
        if "channel" in self.gates:
            maps.append(x * self.gates["channel"](reduce(x, "b c h w -> b c 1 1", "mean")))
        if "spatial" in self.gates:
            maps.append(x * self.gates["spatial"](x))
        first, *second = maps
        return COMBINE[self.combine](first, second[0]) if second else first
