"""Axial attention: along rows and along columns, side by side or one after the other.

Ho, Kalchbrenner, Weissenborn and Salimans 2019, arXiv 1912.12180.
"""

from typing import Literal

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._lines import Positions
from nowcast.attention.axial_col import ColumnAttention
from nowcast.attention.axial_row import RowAttention
from nowcast.contracts import InputError

__all__ = ["AxialAttention"]

CARD = Card(
    family="self-attention",
    paper="Ho et al., Axial Attention in Multidimensional Transformers",
    source="1912.12180",
    year=2019,
    equation="sum: y = x + γᵣ row(x) + γ꜀ col(x); row_col: x' = x + γᵣ row(x), y = x' + γ꜀ col(x')",
    time="O(R(CN(H + W) + C²N))",
    memory="O(CN)",
    note="row_col and col_row join any two pixels in one pass, sum needs two. Unlike criss_cross, which has "
    "one softmax over a row and a column, sum has two.",
)

Order = Literal["sum", "row_col", "col_row"]


class AxialAttention(nn.Module):
    """Let pixels gather along their row and along their column, each with weights of its own.

    (B, C, H, W) → (B, C, H, W). Each is the mechanism `axial_row` or `axial_col`. Both γ start at 0, so
    y = x at first.

    Args:
        channels: C.
        order: "sum" adds what rows and what columns give to x; "row_col" attends to columns after rows;
            "col_row" to rows after columns.
        doubled: whether "sum" counts x twice, as where row(x) + col(x) is written of modules that both add x.
        recurrence: number R of passes, all with the same weights.
        heads: number of heads.
        reduction: ratio of C to the width of queries and keys.
        positions: None, or "sinusoidal" codes of row and column, added where queries and keys are made.
        key_bias: whether keys have a bias, as in published copies; no softmax over keys can notice it.

    Raises:
        InputError: for heads that do not divide C, or a recurrence below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        order: Order = "sum",
        doubled: bool = False,
        recurrence: int = 1,
        heads: int = 1,
        reduction: int = 8,
        positions: Positions | None = None,
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        if recurrence < 1:
            raise InputError(f"axial needs a recurrence of 1 or more, not {recurrence}")
        self.order, self.doubled, self.recurrence = order, doubled, recurrence
        self.row, self.col = (
            attention(channels, heads=heads, reduction=reduction, positions=positions, key_bias=key_bias)
            for attention in (RowAttention, ColumnAttention)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.recurrence):
            x = self._once(x)
        return x

    def _once(self, x: torch.Tensor) -> torch.Tensor:
        match self.order:
            case "row_col":
                return self.col(self.row(x))
            case "col_row":
                return self.row(self.col(x))
            case _:
                y = x + self.row.correction(x) + self.col.correction(x)
                return x + y if self.doubled else y
