"""ConvLSTM and its kin: a recurrent encoder–forecaster whose cells are exchangeable.

Shi et al. 2015 (ConvLSTM), arXiv 1506.04214, in the frame of Shi et al. 2017 (TrajGRU), arXiv 1706.03458.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from einops import rearrange
from torch import nn

from nowcast.contracts import InputError
from nowcast.models import _cells
from nowcast.models._blocks import fields_a_frame, pad_to_multiple, per_stage, start_at_zero
from nowcast.models._cells._unroll import each_frame, unroll

__all__ = ["ConvLSTM"]


class ConvLSTM(nn.Module):
    """Cells at falling resolution read the past; cells at rising resolution, begun in their states, write the future.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H, W, T_in and T_out. Between cells stand strided
    convolutions on the way down and transposed ones on the way up. The coarsest forecasting cell has no input: all
    that the future knows is in the states. With `residual` the network adds to the last past frame and its last
    convolution starts at zero: untrained it is persistence.

    Args:
        past_frames: T_in; the weights do not depend on it.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        cell: "conv_lstm", "conv_gru", "traj_gru", "sa_conv_lstm" or "st_lstm", or {name: …, option: …}, or a list with
            one of these for each level from the finest.
        widths: channels of the cells at each level (64, 96, 96 in Shi et al. 2017).
        strides: by how much maps shrink before each level (1, 2, 2; 5, 3, 2 for their radar images of 480²).
        stem: channels of the convolutions next to the images.
        attention: within every cell, by name, or a list with one for each level from the finest.
        attention_on: what of a cell it sees: "input", "hidden" or "gates".
        residual: whether the last past frame is added to the output.
        checkpointing: whether only states and drives of the cells are kept for the backward pass, and a step is made
            again there. It saves most with traj_gru, whose carried maps fill the memory.

    Raises:
        InputError: for lists of different lengths, or strides or widths below 1.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        cell: Any = "conv_lstm",
        widths: Sequence[int] = (64, 96, 96),
        strides: Sequence[int] = (1, 2, 2),
        stem: int = 16,
        attention: Any = None,
        attention_on: str = "hidden",
        residual: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        levels = len(widths)
        cells = list(cell) if isinstance(cell, list | tuple) else [cell] * levels
        if not len(cells) == len(strides) == levels >= 1 or min(*widths, *strides, stem) < 1:
            raise InputError(
                f"ConvLSTM has {levels} widths {list(widths)}, {len(strides)} strides {list(strides)} and {len(cells)} "
                "cells; give one of each for every level, all at least 1"
            )
        self.steps, self.residual, self.checkpointing = steps, residual, checkpointing
        self.multiple = torch.Size(strides).numel()
        factories = per_stage(attention, levels)
        entering = [stem, *widths[1:]]

        def level_cell(level: int, inputs: int) -> _cells.Cell:
            return _cells.create(cells[level], inputs, widths[level], factories[level], attention_on)

        self.shrink = nn.ModuleList(
            shrinking(inputs, width, stride)
            for inputs, width, stride in zip([channels, *widths], entering, strides, strict=False)
        )
        self.encoder = nn.ModuleList(level_cell(level, entering[level]) for level in range(levels))
        upward = range(levels - 1, -1, -1)
        self.forecaster = nn.ModuleList(
            level_cell(level, 0 if level == levels - 1 else widths[level + 1]) for level in upward
        )
        self.grow = nn.ModuleList(
            growing(widths[level], widths[level] if level else stem, strides[level]) for level in upward
        )
        last = nn.Conv2d(stem, fields_a_frame(channels, outputs, residual), 1)
        self.head = nn.Sequential(shrinking(stem, stem, 1), start_at_zero(last) if residual else last)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        change = self._forecast(self._encode(past))[..., : past.shape[-2], : past.shape[-1]]
        return past[:, -1:] + change if self.residual else change

    def _encode(self, past: torch.Tensor) -> list[_cells.State]:
        """The state that the past leaves at each level, from the coarsest."""
        padded = pad_to_multiple(rearrange(past, "b t c h w -> (b t) c h w"), self.multiple)
        frames = rearrange(padded, "(b t) c h w -> b t c h w", t=past.shape[1])
        states: list[_cells.State] = []
        for shrink, cell in zip(self.shrink, cast(Iterable[_cells.Cell], self.encoder), strict=True):
            frames = each_frame(shrink, frames)
            frames, state = unroll(cell, frames, cell.begin(frames[:, 0]), past.shape[1], self.checkpointing)
            states.insert(0, state)
        return states

    def _forecast(self, states: list[_cells.State]) -> torch.Tensor:
        """(B, steps, outputs, H, W) from these states."""
        frames = None
        for state, cell, grow in zip(states, cast(Iterable[_cells.Cell], self.forecaster), self.grow, strict=True):
            outputs, _ = unroll(cell, frames, state, self.steps, self.checkpointing)
            frames = each_frame(grow, outputs)
        assert frames is not None  # there is at least one level
        return each_frame(self.head, frames)


def shrinking(channels: int, width: int, stride: int) -> nn.Module:
    """A convolution that makes maps `stride` times smaller; 3×3 at strides 1 and 2, 5×5 at 3 and 4, 7×7 at 5 and 6."""
    return leaky(nn.Conv2d(channels, width, stride + 1 + stride % 2, stride, padding=1))


def growing(channels: int, width: int, stride: int) -> nn.Module:
    """A transposed convolution that makes maps `stride` times larger."""
    return leaky(nn.ConvTranspose2d(channels, width, stride + 2, stride, padding=1))


def leaky(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """The layer and a leaky ReLU of slope 0.2, begun so that signals keep their size through it (He et al. 2015)."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    nn.init.kaiming_normal_(layer.weight, 0.2, mode="fan_out" if transposed else "fan_in")
    if transposed:
        with torch.no_grad():
            layer.weight *= layer.stride[0]  # each pixel of the output sees one in stride² of the kernel
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.LeakyReLU(0.2, inplace=True))
