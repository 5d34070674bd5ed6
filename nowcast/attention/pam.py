"""Position attention of the dual attention network: pixels gather from all pixels that match, near or far.

Fu, Liu, Tian, Li, Bao, Fang and Lu 2019, arXiv 1809.02983.
"""

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.attention._width import reduced

__all__ = ["PositionAttention"]

CARD = Card(
    family="self-attention",
    paper="Fu et al., Dual Attention Network for Scene Segmentation",
    source="1809.02983",
    year=2018,
    equation="y = x + γ softmax(QKᵀ) V",
    time="O(CN² + C²N)",
    memory="O(CN)",
)


class PositionAttention(nn.Module):
    """Add to every pixel an average of all pixels by query and key: y = x + γ softmax(QKᵀ) V.

    (B, C, H, W) → (B, C, H, W). Products are not divided by √(C/r). γ starts at 0, so y = x at first. The
    N × N weights are never held as a whole.

    Args:
        channels: C.
        reduction: ratio r of the width of queries and keys, 8 in the paper.
        key_bias: whether keys have a bias, as in the authors' network; no softmax over keys can notice it.
    """

    def __init__(self, channels: int, *, reduction: int = 8, key_bias: bool = False) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum=1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width, bias=key_bias)
        self.value = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = tokens(x)
        context = attend(self.query(pixels), self.key(pixels), self.value(pixels), scale=1.0)
        return x + self.gamma * as_map(context, like=x)
