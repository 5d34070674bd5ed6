"""ST-LSTM: a ConvLSTM with a second memory that is handed from layer to layer.

Wang, Wu, Zhang, Gao, Wang, Yu and Long 2021 (PredRNN), arXiv 2103.09504.
"""

import torch
from torch import nn

from nowcast.models._blocks import AttentionFactory
from nowcast.models._cells._cell import Cell, State, same_size

__all__ = ["SpatiotemporalLSTMCell"]

KEEP = 1.0  # added to both forget gates before their nonlinearity, as in the authors' code


class SpatiotemporalLSTMCell(Cell):
    """State (h, c, m): c remembers in time, m what the layers below saw; both are forgotten and filled by own gates.

    c ← σ(f) c + σ(i) tanh(g), m ← σ(f') m + σ(i') tanh(g'), h = σ(o) tanh(W [c; m]), where i, f, g come from input
    and h, the primed ones from input and m, and o from all of them. In PredRNN m comes from the layer below; in any
    other frame it is a memory of the layer's own.

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of h, c and m.
        kernel: size of all convolutions, that of the input too.
        attention: builds attention for a number of channels.
        on: "input", "hidden" or "gates".
    """

    states = 3

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        kernel: int = 5,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        drives = 7 * width
        super().__init__(channels, width, drives=drives, gates=drives, input_kernel=kernel, attention=attention, on=on)
        self.from_hidden = same_size(width, 4 * width, kernel, bias=False)
        self.from_far = same_size(width, 3 * width, kernel, bias=False)
        self.leave = same_size(2 * width, width, kernel, bias=False)
        self.fuse = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(self, drive: torch.Tensor, state: State) -> State:
        return self.step(drive, state)[0]

    def step(self, drive: torch.Tensor, state: State) -> tuple[State, tuple[torch.Tensor, torch.Tensor]]:
        """The new state, and what was added to c and to m, which PredRNN keeps apart by its loss."""
        hidden, memory, far = state
        recurrent = torch.cat([self.from_far(far), self.from_hidden(self.attend_hidden(hidden))], dim=1)
        gates = self.attend_gates(drive + recurrent)
        enter_far, keep_far, new_far, enter, keep, new, leave = gates.chunk(7, dim=1)
        added, added_far = enter.sigmoid() * new.tanh(), enter_far.sigmoid() * new_far.tanh()
        memory = (keep + KEEP).sigmoid() * memory + added
        far = (keep_far + KEEP).sigmoid() * far + added_far
        both = torch.cat([memory, far], dim=1)
        hidden = (leave + self.leave(both)).sigmoid() * self.fuse(both).tanh()
        return (hidden, memory, far), (added, added_far)
