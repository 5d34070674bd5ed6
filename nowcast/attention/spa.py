"""Spatial pyramid attention: channels gated by what coarse cells of the map hold.

Guo, Ma, Guo, Wang and others 2020, IEEE ICME.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced

__all__ = ["SpatialPyramidAttention"]

CARD = Card(
    family="channel",
    paper="Guo et al., Spatial Pyramid Attention Network for Enhanced Image Recognition",
    source="IEEE ICME 2020, 10.1109/ICME46284.2020.9102906",
    year=2020,
    equation="y = x ⊙ σ(W₂ δ(W₁ [P₁ x; P₂ x; P₄ x])), Pₖ the means of k × k cells",
    time="O(CN + 22C²/r)",
    memory="O(21C)",
)

PYRAMID = (1, 2, 4)
CELLS = sum(side**2 for side in PYRAMID)


class SpatialPyramidAttention(nn.Module):
    """Gate each channel by a perceptron of the means of 1, 4 and 16 cells of all channels.

    (B, C, H, W) → (B, C, H, W). Unlike `se` it knows where on the map things are.

    Args:
        channels: C.
        reduction: ratio r of the bottleneck, 16 in the paper.
        minimum: least width of the bottleneck.
    """

    def __init__(self, channels: int, *, reduction: int = 16, minimum: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.excite = nn.Sequential(
            nn.Linear(CELLS * channels, width, bias=False),
            nn.ReLU(),
            nn.Linear(width, channels, bias=False),
            nn.Sigmoid(),
        )

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        """Weights of the channels, (B, C, H, W) → (B, C, 1, 1)."""
        cells = torch.cat([F.adaptive_avg_pool2d(x, side).flatten(1) for side in PYRAMID], dim=1)
        return rearrange(self.excite(cells), "b c -> b c 1 1")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)
