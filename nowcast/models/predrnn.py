"""PredRNN-V2: stacked ST-LSTM cells with a memory that zigzags through the layers, frame after frame.

Wang, Wu, Zhang, Gao, Wang, Yu and Long 2021, arXiv 2103.09504.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nowcast.contracts import InputError
from nowcast.models._blocks import fields_a_frame, pad_to_multiple, per_stage, start_at_zero
from nowcast.models._cells import State
from nowcast.models._cells._unroll import each_frame
from nowcast.models._cells.st_lstm import SpatiotemporalLSTMCell

__all__ = ["PredRNN"]

Gain = tuple[torch.Tensor, torch.Tensor]  # what a step adds to c and to m

# Reverse scheduled sampling in shares of training: at steps 25,000 and 50,000, with a decay of 5,000, of 80,000 in the
# authors' code.
SAMPLING_STARTS, SAMPLING_ENDS, SAMPLING_DECAY = 25 / 80, 50 / 80, 5 / 80


class PredRNN(nn.Module):
    """See a frame, forecast the next one; beyond the present see one's own forecast.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H, W, T_in and T_out. Frames are cut into patches
    that become channels. At each time the memory m rises from layer to layer, and from the top layer it enters the
    lowest one at the next time. With `residual` the network forecasts the change from the frame it sees, at first none:
    untrained it is persistence.

    Training (`train_forward`) adds two losses: that of the frames forecast within the past, and the decoupling loss,
    the mean |cosine| between what c and m gain. By reverse scheduled sampling it learns to use the past: at first it
    sees a frame of the past only every other time (else its own forecast), in the end always; of the future at first
    every other frame, in the end none.

    Args:
        past_frames: T_in; the weights do not depend on it.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1, and the frame that is seen
            next comes from a layer of its own.
        width: channels of each layer, 128 in the paper.
        layers: number of ST-LSTM cells, 4 in the paper.
        kernel: size of their convolutions, 5 in the paper.
        patch: side of a patch in pixels, 4 in the paper.
        attention: within every cell, by name, or a list with one for each layer from the lowest.
        attention_on: what of a cell it sees: "input", "hidden" or "gates".
        decoupling: weight of the decoupling loss, 0.01 to 0.1 in the authors' code.
        residual: whether the frame seen last is added to the output.
        checkpointing: whether only states are kept for the backward pass, and a step of a cell is made again there.

    Raises:
        InputError: for sizes below 1 or a list of another length.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 128,
        layers: int = 4,
        kernel: int = 5,
        patch: int = 4,
        attention: Any = None,
        attention_on: str = "hidden",
        decoupling: float = 0.1,
        residual: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if min(width, layers, patch) < 1:
            raise InputError(f"PredRNN needs width, layers and patch of at least 1, not {width}, {layers} and {patch}")
        self.steps, self.patch, self.decoupling, self.residual = steps, patch, decoupling, residual
        self.checkpointing = checkpointing
        pixels = channels * patch**2
        self.cells = nn.ModuleList(
            SpatiotemporalLSTMCell(inputs, width, kernel=kernel, attention=factory, on=attention_on)
            for inputs, factory in zip([pixels] + [width] * (layers - 1), per_stage(attention, layers), strict=True)
        )
        self.adapter = nn.Conv2d(width, width, 1, bias=False)
        self.next_frame = nn.Conv2d(width, pixels, 1, bias=False)
        fields = fields_a_frame(channels, outputs, residual)
        self.head = None if fields == channels else nn.Conv2d(width, fields * patch**2, 1)
        if residual:
            start_at_zero(self.next_frame)
            if self.head:
                start_at_zero(self.head)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        forecasts, _, _ = self._run(self._cut(past), past.shape[1])
        return self._joined(forecasts, past)

    def train_forward(
        self, past: torch.Tensor, future: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Forecast with reverse scheduled sampling, and the losses beside that of the forecast.

        Args:
            past: (B, T_in, C, H, W), scaled.
            future: the truth, (B, steps, C, H, W), scaled.
            progress: share of training done, 0 to 1.
        """
        frames = self._cut(torch.cat([past, future], dim=1))
        see_past, see_future = chances(progress)
        chance = torch.tensor([see_past] * (past.shape[1] - 1) + [see_future] * (self.steps - 1), device=past.device)
        seen = torch.rand(len(past), len(chance), device=past.device) < chance
        forecasts, made, gains = self._run(frames[:, :-1], past.shape[1], seen)
        # What the loss of the forecast does not judge: frames within the past, and all where the head makes other
        # fields. Their errors are divided by the steps, so that each frame weighs as much here as there.
        unjudged = past.shape[1] - 1 if self.head is None else made.shape[1]
        error = (made - frames[:, 1:]).square()[:, :unjudged].mean(dim=(0, 2, 3, 4)).sum() / self.steps
        return self._joined(forecasts, past), error + self.decoupling * self._coupling(gains)

    def _run(
        self, frames: torch.Tensor, past_frames: int, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, list[Gain]]:
        """Forecasts (B, steps, …), all next frames (B, T_in + steps − 1, …), and what c and m gained at each of them.

        Args:
            frames: (B, T, C, H, W), cut into patches.
            past_frames: T_in.
            seen: bool (B, T − 1), whether a frame after the first is shown; where it is not, and always beyond T, the
                forecast of it is. None shows all T.
        """
        cells = list(cast(Iterable[SpatiotemporalLSTMCell], self.cells))
        states = [cell.begin(frames[:, 0])[:2] for cell in cells]
        far = torch.zeros_like(states[0][0])
        forecasts: list[torch.Tensor] = []
        made: list[torch.Tensor] = []
        gains = []
        for time in range(past_frames + self.steps - 1):
            frame = frames[:, time] if time < frames.shape[1] else made[-1].clamp_min(0)  # dry is 0, never less
            if seen is not None and time:
                frame = torch.where(seen[:, time - 1, None, None, None], frame, made[-1].clamp_min(0))
            x = frame
            for layer, cell in enumerate(cells):
                (x, memory, far), gain = self._step(cell, x, (*states[layer], far))
                states[layer] = (x, memory)
                gains.append(gain)
            change = self.next_frame(x)
            made.append(frame + change if self.residual else change)
            if time >= past_frames - 1:
                forecasts.append(self._fields(x, frame) if self.head else made[-1])
        return torch.stack(forecasts, dim=1), torch.stack(made, dim=1), gains

    def _step(self, cell: SpatiotemporalLSTMCell, x: torch.Tensor, state: State) -> tuple[State, Gain]:
        """One step of a cell: its new state, and what c and m gained."""
        if self.checkpointing and torch.is_grad_enabled():
            made = checkpoint(lambda x, state: cell.step(cell.drive(x), state), x, state, use_reentrant=False)
            return cast("tuple[State, Gain]", made)
        return cell.step(cell.drive(x), state)

    def _fields(self, x: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
        """The outputs, where they are other fields than the frames: one channel is added to each of them."""
        assert self.head is not None
        fields: torch.Tensor = self.head(x)
        return fields + frame.repeat(1, fields.shape[1] // frame.shape[1], 1, 1) if self.residual else fields

    def _coupling(self, gains: list[Gain]) -> torch.Tensor:
        """Mean over times, layers, samples and channels of |cos| between gains of c and m as vectors of pixels."""
        memory, far = (
            rearrange(self.adapter(torch.cat(gain)), "n c h w -> n c (h w)") for gain in zip(*gains, strict=True)
        )
        return F.cosine_similarity(memory.float(), far.float(), dim=2).abs().mean()

    def _cut(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, T, C, H, W) → (B, T, C·patch², H/patch, W/patch), extended to whole patches."""
        padded = pad_to_multiple(rearrange(frames, "b t c h w -> (b t) c h w"), self.patch)
        cut = F.pixel_unshuffle(padded, self.patch)
        return rearrange(cut, "(b t) c h w -> b t c h w", t=frames.shape[1])

    def _joined(self, patches: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The inverse of `_cut`, with the size of `like`."""
        return each_frame(nn.PixelShuffle(self.patch), patches)[..., : like.shape[-2], : like.shape[-1]]


def chances(progress: float) -> tuple[float, float]:
    """Chance that a frame of the past is shown, and that one of the future is, by the share of training done."""
    if progress < SAMPLING_STARTS:
        return 0.5, 0.5
    if progress >= SAMPLING_ENDS:
        return 1.0, 0.0
    since = progress - SAMPLING_STARTS
    return 1 - 0.5 * math.exp(-since / SAMPLING_DECAY), 0.5 - 0.5 * since / (SAMPLING_ENDS - SAMPLING_STARTS)
