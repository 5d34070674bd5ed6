"""A cell over a sequence: the only loop over time."""

from typing import cast

import torch
from einops import rearrange
from torch import nn
from torch.utils.checkpoint import checkpoint

from nowcast.models._cells._cell import Cell, State


def each_frame(layer: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """A layer of maps applied to all frames in one call: (B, T, C, H, W) → (B, T, C', H', W')."""
    made = layer(rearrange(frames, "b t c h w -> (b t) c h w"))
    return rearrange(made, "(b t) c h w -> b t c h w", t=frames.shape[1])


def unroll(
    cell: Cell, frames: torch.Tensor | None, state: State, steps: int, checkpointing: bool = False
) -> tuple[torch.Tensor, State]:
    """Run a cell for `steps` times: the outputs (B, steps, width, H, W) and the last state.

    Args:
        cell: which.
        frames: its inputs (B, steps, C, H, W), or None where it goes on by itself.
        state: before the first step.
        steps: how many.
        checkpointing: whether to keep only states for the backward pass and repeat what is in between.
    """
    if frames is None:
        batch, _, height, width = state[0].shape
        silent = state[0].new_zeros(()).expand(batch, cell.drives, height, width)
        drives = [silent] * steps
    else:
        driven = cell.drive(rearrange(frames, "b t c h w -> (b t) c h w"))
        drives = list(rearrange(driven, "(b t) c h w -> t b c h w", t=steps))
    outputs = []
    for drive in drives:
        if checkpointing and torch.is_grad_enabled():
            state = cast(State, checkpoint(cell, drive, state, use_reentrant=False))
        else:
            state = cell(drive, state)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1), state
