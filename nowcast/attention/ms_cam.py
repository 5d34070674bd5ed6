"""Multi-scale channel attention: every value gated by its pixel's channels and by the whole map's.

Dai, Gieseke, Oehmcke, Wu and Barnard 2020, arXiv 2009.14082.
"""

import torch
from einops import reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._width import reduced

__all__ = ["MultiScaleChannelAttention"]

CARD = Card(
    family="channel",
    paper="Dai et al., Attentional Feature Fusion",
    source="2009.14082",
    year=2020,
    equation="y = x ⊙ σ(L(x) + G(GAP x)); L, G = norm W₂ δ norm W₁",
    time="O(C²N/r)",
    memory="O(CN)",
)


def bottleneck(channels: int, width: int, norm: Norm) -> nn.Module:
    """A perceptron with norms at every pixel: (B, C, H, W) → (B, C, H, W)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1),
        norm_layer(norm, width),
        nn.ReLU(),
        nn.Conv2d(width, channels, 1),
        norm_layer(norm, channels),
    )


class MultiScaleChannelAttention(nn.Module):
    """Gate values by a bottleneck of their pixel and one of the map's mean: y = x ⊙ σ(L(x) + G(GAP x)).

    (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        reduction: ratio r of both bottlenecks, 4 in the paper.
        norm: of both, "group", or "batch" as in the paper, which needs more than one sample to train: G has
            one value a channel.
        minimum: least width of the bottlenecks.
    """

    def __init__(self, channels: int, *, reduction: int = 4, norm: Norm = "group", minimum: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.local = bottleneck(channels, width, norm)
        self.context = bottleneck(channels, width, norm)

    def gate(self, x: torch.Tensor, context: nn.Module | None = None) -> torch.Tensor:
        """Weights in (0, 1), of the shape of x; by another G than its own if one is given."""
        context = context or self.context
        return torch.sigmoid(self.local(x) + context(reduce(x, "b c h w -> b c 1 1", "mean")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)
