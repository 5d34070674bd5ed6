"""Criss-cross attention: pixels gather along their row and column, and in a second pass from everywhere.

Huang, Wang, Wei, Huang, Shi, Liu and Huang 2019, arXiv 1811.11721.
"""

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._cross import attend_across
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["CrissCrossAttention"]

CARD = Card(
    family="self-attention",
    paper="Huang et al., CCNet: Criss-Cross Attention for Semantic Segmentation",
    source="1811.11721",
    year=2018,
    equation="R times x ← x + γ Σ softmax(q kᵀ) v over the H + W − 1 pixels of the own row and column; y = x",
    time="O(R(CN(H + W) + C²N))",
    memory="O(N(H + W + C))",
)


class CrissCrossAttention(nn.Module):
    """Add to every pixel an average of the pixels in its row and column by query and key, several times over.

    (B, C, H, W) → (B, C, H, W). One softmax runs over both arms, in which the pixel itself counts once.
    Products are not divided by √(C/r). All passes share their weights; two of them join any two pixels.
    γ starts at 0, so y = x at first.

    Args:
        channels: C.
        recurrence: number R of passes, 2 in the paper.
        reduction: ratio r of the width of queries and keys, 8 in the paper.
        key_bias: whether keys have a bias, as in the authors' network; no softmax over keys can notice it.

    Raises:
        InputError: for a recurrence below 1.
    """

    def __init__(self, channels: int, *, recurrence: int = 2, reduction: int = 8, key_bias: bool = False) -> None:
        super().__init__()
        if recurrence < 1:
            raise InputError(f"criss_cross needs a recurrence of 1 or more, not {recurrence}")
        self.recurrence = recurrence
        width = reduced(channels, reduction, minimum=1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1, bias=key_bias)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.recurrence):
            x = x + self.gamma * attend_across(self.query(x), self.key(x), self.value(x))
        return x
