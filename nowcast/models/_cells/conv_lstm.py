"""ConvLSTM: a long short-term memory whose products are convolutions.

Shi, Chen, Wang, Yeung, Wong and Woo 2015, arXiv 1506.04214.
"""

import torch
from torch import nn

from nowcast.models._blocks import AttentionFactory
from nowcast.models._cells._cell import Cell, State, lstm_step, same_size

__all__ = ["ConvLSTMCell"]


class ConvLSTMCell(Cell):
    """State (h, c): gates from convolutions of the input and of h, c ← σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c).

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of h and c.
        kernel: size of the convolution of h.
        peephole: whether gates also see c, as in the paper, with one weight a channel so that any size of map will do.
        attention: builds attention for a number of channels.
        on: "input", "hidden" or "gates".
    """

    states = 2

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        kernel: int = 5,
        peephole: bool = False,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__(channels, width, drives=4 * width, gates=4 * width, attention=attention, on=on)
        self.recurrent = same_size(width, 4 * width, kernel)
        self.peephole = nn.Parameter(torch.zeros(3, width, 1, 1)) if peephole else None

    def forward(self, drive: torch.Tensor, state: State) -> State:
        hidden, memory = state
        gates = self.attend_gates(drive + self.recurrent(self.attend_hidden(hidden)))
        return lstm_step(gates, memory, self.peephole)
