"""ConvGRU: a gated recurrent unit whose products are convolutions.

Ballas, Yao, Pal and Courville 2015, arXiv 1511.06432, in the form of Shi et al. 2017, arXiv 1706.03458.
"""

import torch

from nowcast.models._blocks import AttentionFactory
from nowcast.models._cells._cell import Cell, State, gru_step, same_size

__all__ = ["ConvGRUCell"]


class ConvGRUCell(Cell):
    """State (h,): gates and new memory from convolutions of the input and of h, reset after the convolution.

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of h.
        kernel: size of the convolution of h.
        attention: builds attention for a number of channels.
        on: "input", "hidden" or "gates" (reset and update).
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        kernel: int = 5,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__(channels, width, drives=3 * width, gates=2 * width, attention=attention, on=on)
        self.recurrent = same_size(width, 3 * width, kernel)

    def forward(self, drive: torch.Tensor, state: State) -> State:
        (hidden,) = state
        return (gru_step(drive, self.recurrent(self.attend_hidden(hidden)), hidden, self.attend_gates),)
