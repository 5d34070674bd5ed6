"""Attention along all three axes of a map: between its rows, its columns and its channels.

A proposal of the survey that this library follows, on the axial attention of Ho et al. 2019, arXiv 1912.12180.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._lines import LineAttention
from nowcast.attention._precision import at_least_single
from nowcast.attention.axial_col import ColumnAttention
from nowcast.attention.axial_row import RowAttention
from nowcast.contracts import InputError

__all__ = ["TriAxialAttention"]

CARD = Card(
    family="self-attention",
    paper="Survey's proposal, after Ho et al., Axial Attention in Multidimensional Transformers",
    source="1912.12180",
    year=2019,
    equation="y = x + γ꜀ softmax(τ t̂ t̂ᵀ) x + γₕ col(x) + γ_w row(x), t̂ the channels pooled to 8×8, of length 1",
    time="O(CN(H + W) + C²N)",
    memory="O(CN + C²)",
    note="Not a published mechanism. Along C the tokens are channels pooled to a grid, so that no weight "
    "belongs to one map size.",
)

Axis = Literal["c", "h", "w"]
Order = Literal["sum", "sequence"]


class PooledChannelAttention(nn.Module):
    """Add to each channel an average of all channels that look alike: y = x + γ softmax(τ t̂ t̂ᵀ) x.

    (B, C, H, W) → (B, C, H, W). A channel's token t is its means in a grid of cells, t̂ is t / ‖t‖. γ starts
    at 0 and τ at the root of the number of cells, as products of standardised tokens over √d would have it.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.gamma = nn.Parameter(torch.zeros(1))
        self.temperature = nn.Parameter(torch.full((1,), float(grid)))

    def correction(self, x: torch.Tensor) -> torch.Tensor:
        cells = F.adaptive_avg_pool2d(at_least_single(x), self.grid)
        tokens = F.normalize(rearrange(cells, "b c i j -> b c (i j)"), dim=2)
        weights = (self.temperature * tokens @ tokens.mT).softmax(dim=2).to(x.dtype)
        return self.gamma * torch.einsum("bck, bkhw -> bchw", weights, x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.correction(x)


class TriAxialAttention(nn.Module):
    """Let values gather along channels, rows and columns, by the sum of three attentions or one by one.

    (B, C, H, W) → (B, C, H, W). Along H and W these are the mechanisms `axial_col` and `axial_row`; along C
    channels average channels, by the cosine of their pooled maps. All γ start at 0, so y = x at first.

    Args:
        channels: C.
        axes: some of "c", "h" and "w", in the order of a sequence.
        order: "sum" of what all axes give, or "sequence": each axis sees what the axis before has made.
        grid: rows and columns that maps are pooled to where channels are compared.
        heads: number of heads along H and along W.
        reduction: ratio of C to the width of queries and keys along H and along W.

    Raises:
        InputError: for axes that do not exist or come twice, a grid below 1, or heads that do not divide C.
    """

    def __init__(
        self,
        channels: int,
        *,
        axes: Sequence[Axis] = ("c", "h", "w"),
        order: Order = "sum",
        grid: int = 8,
        heads: int = 1,
        reduction: int = 8,
    ) -> None:
        super().__init__()
        if not axes or not set(axes) <= {"c", "h", "w"} or len(set(axes)) < len(axes):
            raise InputError(f"tri_axial axes are some of c, h, w, each once, not {list(axes)}")
        if grid < 1:
            raise InputError(f"tri_axial needs a grid of 1 or more, not {grid}")
        self.sequential = order == "sequence"
        parts: dict[Axis, PooledChannelAttention | LineAttention] = {
            "c": PooledChannelAttention(grid),
            "h": ColumnAttention(channels, heads=heads, reduction=reduction),
            "w": RowAttention(channels, heads=heads, reduction=reduction),
        }
        self.along = nn.ModuleDict({axis: parts[axis] for axis in axes})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.sequential:
            for attention in self.along.values():
                x = attention(x)
            return x
        corrections = [attention.correction(x) for attention in self.along.values()]  # type: ignore[operator]
        return x + torch.stack(corrections).sum(dim=0)
