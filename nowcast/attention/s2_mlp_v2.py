"""S²-MLPv2: channels moved by a pixel in four directions, in three ways, weighed by split attention.

Yu, Li, Cai, Sun and Li 2021, arXiv 2108.01072.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card

__all__ = ["SpatialShiftSplitAttention"]

CARD = Card(
    family="mixed",
    paper="Yu et al., S²-MLPv2: Improved Spatial-Shift MLP Architecture for Vision",
    source="2108.01072",
    year=2021,
    equation="y = W₂ Σᵢ softmaxᵢ(W_b φ(W_a pool(Σⱼ zⱼ)))ᵢ ⊙ zᵢ, z = [shift(x₁); shift'(x₂); x₃], [x₁; x₂; x₃] = W₁x",
    time="O(C²N)",
    memory="O(CN)",
    note="The paper pools by a sum, which at large maps drives the softmax to one of the three; ours is a mean "
    "unless pool='sum'.",
)

Pool = Literal["mean", "sum"]
Border = Literal["keep", "smear"]
Direction = Literal["down", "up", "right", "left"]


class SpatialShiftSplitAttention(nn.Module):
    """Mix each pixel with its four neighbours by moving channels, and weigh moved and unmoved ones.

    (B, C, H, W) → (B, C, H, W). C is widened to 3C. Of the first third a quarter each moves by a pixel down,
    up, right and left, of the second right, left, down and up, and the last stays. What would enter from
    beyond the border is what was there before. A perceptron of the pooled sum weighs the three by channel.

    Args:
        channels: C.
        pool: over the map, before the perceptron: "mean", or the paper's "sum".
        border: "keep" as in the paper, or "smear" as in ports whose copy onto itself, meant to move channels
            down or right, repeats the first row or column all over the map; for weights trained with them.
    """

    def __init__(self, channels: int, *, pool: Pool = "mean", border: Border = "keep") -> None:
        super().__init__()
        self.pool, self.border = pool, border
        self.widen = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.GELU(),
            nn.Linear(channels, 3 * channels, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, third = self.widen(x).chunk(3, dim=1)
        parts = (
            self._shifted(first, ("down", "up", "right", "left")),
            self._shifted(second, ("right", "left", "down", "up")),
            third,
        )
        total = parts[0] + parts[1] + parts[2]
        pooled = total.mean(dim=(2, 3)) if self.pool == "mean" else total.sum(dim=(2, 3))
        weights = rearrange(self.weigh(pooled), "b (part c) -> part b c 1 1", part=3).softmax(dim=0)
        return self.project(sum(weight * part for weight, part in zip(weights, parts, strict=True)))

    def _shifted(self, x: torch.Tensor, directions: tuple[Direction, ...]) -> torch.Tensor:
        channels = x.shape[1]
        quarters = x.tensor_split([channels // 4, channels // 2, channels * 3 // 4], dim=1)
        return torch.cat(
            [self._moved(quarter, where) for quarter, where in zip(quarters, directions, strict=True)], dim=1
        )

    def _moved(self, x: torch.Tensor, where: Direction) -> torch.Tensor:
        axis = 2 if where in ("down", "up") else 3
        length = x.shape[axis]
        if where in ("up", "left"):
            return torch.cat([x.narrow(axis, 1, length - 1), x.narrow(axis, length - 1, 1)], dim=axis)
        edge = x.narrow(axis, 0, 1)
        if self.border == "smear":
            return edge.expand_as(x)
        return torch.cat([edge, x.narrow(axis, 0, length - 1)], dim=axis)
