"""Bottleneck attention module: one gate for channels and places together.

Park, Woo, Lee and Kweon 2018, arXiv 1807.06514.
"""

from typing import Literal

import torch
from einops import reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["BottleneckAttention"]

CARD = Card(
    family="mixed",
    paper="Park et al., BAM: Bottleneck Attention Module",
    source="1807.06514",
    year=2018,
    equation="y = x ⊙ (1 + σ(M_c(x) + M_s(x))), M_c = MLP(GAP x), M_s = conv₁ conv₃ conv₃ conv₁(x)",
    time="O(CN + C²/r + CN/r + 18NC²/r²)",
    memory="O(CN/r)",
    note="The authors' code multiplies M_c and M_s, the paper adds them.",
)


def normed(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    """A convolution with the batch norm and ReLU that follow it."""
    return conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()


class BottleneckAttention(nn.Module):
    """Raise channels and positions by one joint gate: y = x ⊙ (1 + σ(M_c(x) + M_s(x))).

    (B, C, H, W) → (B, C, H, W). M_c is a perceptron of the channel means, one value a channel; M_s goes
    through a bottleneck and two dilated 3×3 convolutions to one value a position.

    Args:
        channels: C.
        reduction: ratio r of both bottlenecks, 16 in the paper.
        dilation: of the 3×3 convolutions, 4 in the paper.
        combine: "sum" of both branches as in the paper, or their "product" as in the authors' code.
        norm: of the perceptron's hidden layer, where a sample has one value a channel: "group", or "batch" as
            in the paper, which needs more than one sample to train. M_s always has batch norms.
        minimum: least width of the bottlenecks.

    Raises:
        InputError: for a dilation below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        dilation: int = 4,
        combine: Literal["sum", "product"] = "sum",
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if dilation < 1:
            raise InputError(f"bam has a dilation of {dilation}; it starts at 1, and the paper's is 4")
        self.combine = combine
        width = reduced(channels, reduction, minimum)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, width, 1), norm_layer(norm, width), nn.ReLU(), nn.Conv2d(width, channels, 1)
        )
        self.spatial = nn.Sequential(
            *normed(nn.Conv2d(channels, width, 1)),
            *normed(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)),
            *normed(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channel = self.channel(reduce(x, "b c h w -> b c 1 1", "mean"))
        spatial = self.spatial(x)  # (B, 1, H, W)
        logits = channel + spatial if self.combine == "sum" else channel * spatial
        return x * (1 + torch.sigmoid(logits))
