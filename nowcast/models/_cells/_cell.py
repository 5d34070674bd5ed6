"""What every recurrent cell is, and the gates that several share."""

import torch
from torch import nn
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.models._blocks import AttentionFactory

# Maps (B, width, H, W) that a cell hands to itself at the next time; the first one is its output.
State = tuple[torch.Tensor, ...]

PLACES = ("input", "hidden", "gates")


class Cell(nn.Module):
    """One recurrent layer on maps of one size, told in two steps so that all inputs are convolved at once.

    `drive` says what inputs contribute to the gates, whatever the state: (N, C, H, W) → (N, drives, H, W), for all
    times together. `forward` makes one step from the drive of one time and the state.

    Args:
        channels: C of the input; 0 for a cell that has none.
        width: channels of the hidden state.
        drives: channels of the drive.
        gates: channels of the gates before their nonlinearity.
        input_kernel: size of the convolution of the input.
        attention: builds attention for a number of channels; None is none.
        on: what it sees: the "input", the "hidden" state as the recurrent convolution reads it (what is carried
            over stays as it is), or the "gates" before their nonlinearity.

    Raises:
        InputError: for another place, or an even kernel.
    """

    states = 1  # how many maps the state has

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        drives: int,
        gates: int,
        input_kernel: int = 3,
        attention: AttentionFactory | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__()
        if on not in PLACES:
            raise InputError(f"attention of a cell stands on {', '.join(PLACES)}, not {on!r}")
        self.width, self.drives = width, drives

        def attend(place: str, channels: int) -> nn.Module:
            return attention(channels) if attention and on == place and channels else nn.Identity()

        self.attend_input = attend("input", channels)
        self.attend_hidden = attend("hidden", width)
        self.attend_gates = attend("gates", gates)
        self.from_input = same_size(channels, drives, input_kernel) if channels else nn.Identity()

    def drive(self, inputs: torch.Tensor) -> torch.Tensor:
        """What inputs (N, C, H, W) give to the gates: (N, drives, H, W)."""
        driven: torch.Tensor = self.from_input(self.attend_input(inputs))
        return driven

    def begin(self, frame: torch.Tensor) -> State:
        """The empty state before the first frame (B, C, H, W)."""
        batch, _, height, width = frame.shape
        return (frame.new_zeros(batch, self.width, height, width),) * self.states

    def forward(self, drive: torch.Tensor, state: State) -> State:
        """One step in time, which every cell makes in its own way: the state after it."""
        raise NotImplementedError


def same_size(channels: int, width: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size of maps."""
    if kernel % 2 == 0:
        raise InputError(f"a cell keeps the size of its maps, so its kernels are odd, not {kernel}")
    return nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)


def lstm_step(
    gates: torch.Tensor, memory: torch.Tensor, peephole: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """c ← σ(f) c + σ(i) tanh(g); h = σ(o) tanh(c).

    gates: (B, 4·width, H, W) as i, f, g, o; memory: c; peephole: (3, width, 1, 1), weights with which c is added to
    i and f, and the new c to o. Gives (h, c).
    """
    enter, keep, new, leave = gates.chunk(4, dim=1)
    if peephole is not None:
        enter, keep = enter + peephole[0] * memory, keep + peephole[1] * memory
    memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
    if peephole is not None:
        leave = leave + peephole[2] * memory
    return leave.sigmoid() * memory.tanh(), memory


def gru_step(drive: torch.Tensor, recurrent: torch.Tensor, hidden: torch.Tensor, attend: nn.Module) -> torch.Tensor:
    """h ← σ(u) h + (1 − σ(u)) leaky(x + σ(r) h'), where x and h' are what input and state give to the new memory.

    drive, recurrent: (B, 3·width, H, W) as r, u, new; attend: sees r and u. Leaky ReLU of slope 0.2 as in Shi et al.
    """
    width = hidden.shape[1]
    (driven_gates, driven), (recurrent_gates, returned) = (
        maps.split([2 * width, width], dim=1) for maps in (drive, recurrent)
    )
    reset, update = attend(driven_gates + recurrent_gates).sigmoid().chunk(2, dim=1)
    new = F.leaky_relu(driven + reset * returned, 0.2)
    return update * hidden + (1 - update) * new
