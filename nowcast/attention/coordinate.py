"""Coordinate attention: rows and columns gated by what stands in them.

Hou, Zhou and Feng 2021, arXiv 2103.02907.
"""

import torch
from einops import rearrange, reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced

__all__ = ["CoordinateAttention"]

CARD = Card(
    family="mixed",
    paper="Hou et al., Coordinate Attention for Efficient Mobile Network Design",
    source="2103.02907",
    year=2021,
    equation="[f_h; f_w] = hswish(BN W [mean_W x; mean_H x]); y = x ⊙ σ(W_h f_h) ⊙ σ(W_w f_w)",
    time="O(CN + (H+W)C²/r)",
    memory="O(C(H+W))",
)


class CoordinateAttention(nn.Module):
    """Gate every channel by row and by column, from the means along both axes.

    (B, C, H, W) → (B, C, H, W). The H row means and W column means of each channel go through one shared
    bottleneck W: [f_h; f_w] = hswish(BN(W [mean_W x; mean_H x])), hswish(t) = t · min(max(t + 3, 0), 6) / 6.
    Then y = x ⊙ σ(W_h f_h) ⊙ σ(W_w f_w), one gate constant along rows, one along columns.

    Args:
        channels: C.
        reduction: ratio r of the bottleneck, 32 in the paper.
        minimum: least width of the bottleneck, 8 in the authors' code.
    """

    def __init__(self, channels: int, *, reduction: int = 32, minimum: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.squeeze = nn.Sequential(nn.Conv1d(channels, width, 1), nn.BatchNorm1d(width), nn.Hardswish())
        self.rows = nn.Conv1d(width, channels, 1)
        self.columns = nn.Conv1d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = [reduce(x, f"b c h w -> b c {axis}", "mean") for axis in "hw"]
        rows, columns = self.squeeze(torch.cat(means, dim=2)).split(x.shape[2:], dim=2)
        by_row = rearrange(torch.sigmoid(self.rows(rows)), "b c h -> b c h 1")
        by_column = rearrange(torch.sigmoid(self.columns(columns)), "b c w -> b c 1 w")
        return x * by_row * by_column
