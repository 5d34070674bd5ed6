"""What several networks are built from."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from nowcast import attention
from nowcast.contracts import InputError
from nowcast.norms import GroupNorm

# Builds attention for a number of channels.
AttentionFactory = Callable[[int], nn.Module]


def per_stage(spec: attention.Spec, stages: int) -> list[AttentionFactory]:
    """One attention factory a stage, from a config's `attention`.

    Args:
        spec: nothing, a name or a name with options for every stage; or a list with one of these for each stage
            (a list inside that list is a chain).
        stages: how many stages the network has.

    Raises:
        InputError: when a list has another length.
    """
    specs = list(spec) if isinstance(spec, list | tuple) else [spec] * stages
    if len(specs) != stages:
        raise InputError(
            f"attention lists {len(specs)} stages, the network has {stages}; give one entry for each, or one name"
        )
    return [partial(attention.create, one) for one in specs]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with norm, gated by attention, added to the input (projected where widths differ).

    (B, C_in, H, W) → (B, C_out, H, W). The attention stands on the residual branch before the addition, where
    squeeze-and-excitation networks put it. Group norm makes a batch of one as good as a large one.

    Args:
        channels: C_in.
        width: C_out.
        attention: builds the gate for C_out channels.
    """

    def __init__(self, channels: int, width: int, attention: AttentionFactory) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            group_norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            group_norm(width),
            attention(width),
        )
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.skip(x) + self.branch(x), inplace=True)


def group_norm(channels: int, most: int = 8) -> GroupNorm:
    """Group norm with at most `most` groups, as many as divide the channels into two or more each.

    A group of one channel would forget how strong it is, and has no variance where a map is one pixel.
    """
    groups = next((groups for groups in range(min(most, channels // 2), 0, -1) if channels % groups == 0), 1)
    return GroupNorm(groups, channels)


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Extend (B, C, H, W) below and to the right by copies of the edge until both sizes are multiples."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def start_at_zero(layer: nn.Module) -> nn.Module:
    """The layer, with zeros for weights: what it adds at first is nothing."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


def fields_a_frame(channels: int, outputs: int | None, residual: bool) -> int:
    """Fields at each lead time: `outputs`, or as many as channels.

    Raises:
        InputError: where the last past frame cannot be added to them.
    """
    if residual and channels > 1 and outputs not in (None, channels):
        raise InputError(
            f"{outputs} outputs of {channels} channels: no last frame to add to; set residual: false or one channel"
        )
    return outputs or channels
