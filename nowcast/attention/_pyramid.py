"""Attention to the cells of coarse grids, what asymmetric non-local blocks share (arXiv 1908.07678)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.contracts import InputError

GRIDS = (1, 3, 6, 8)


def cells(x: torch.Tensor, grids: Sequence[int]) -> torch.Tensor:
    """Means over the cells of square grids of g × g, one after the other: (B, C, H, W) → (B, Σ g², C)."""
    return torch.cat([tokens(F.adaptive_avg_pool2d(x, grid)) for grid in grids], dim=1)


class PyramidAttention(nn.Module):
    """W softmax(QKᵀ/√d) V with keys and values of the cells of a map: (B, C, H, W), low map → (B, C, H, W).

    Args:
        channels: C.
        low_channels: of the map that keys and values come from; None where this is x itself, which then
            shares one transform between queries and keys.
        width: d, of queries, keys and values.
        grids: sides g of the grids of cells.
        norm: of queries and keys.

    Raises:
        InputError: for no grid, or one below 1.
    """

    def __init__(self, channels: int, low_channels: int | None, width: int, grids: Sequence[int], norm: Norm) -> None:
        super().__init__()
        if not grids or min(grids) < 1:
            raise InputError(f"pyramid attention needs grids such as {GRIDS}, not {tuple(grids)}")
        self.grids = tuple(grids)
        lower = channels if low_channels is None else low_channels
        self.key = conv_norm_relu(lower, width, 1, norm, bias=True)
        self.query = None
        if low_channels is not None:
            self.query = conv_norm_relu(channels, width, 1, norm, bias=True)
        self.value = nn.Linear(lower, width)
        self.project = nn.Conv2d(width, channels, 1)
        for weight in self.project.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        keys = self.key(low)
        queries = tokens(keys if self.query is None else self.query(x))
        # The mean of values is the value of the mean, so that only cells need values.
        values = self.value(cells(low, self.grids))
        context = attend(queries, cells(keys, self.grids), values, scale=queries.shape[2] ** -0.5)
        return self.project(as_map(context, like=x))
