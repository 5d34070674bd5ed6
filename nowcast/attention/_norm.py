"""Norms of maps that may be a single pixel of a single sample."""

from typing import Literal

from torch import nn

from nowcast.norms import GroupNorm

Norm = Literal["group", "batch"]


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A norm with scale and shift of each channel: (B, C, H, W) → (B, C, H, W).

    "group" standardises all values of a sample together, so that one sample with one pixel can be trained
    on; "batch" is batch norm, mostly the paper's, which cannot.
    """
    return GroupNorm(1, channels) if kind == "group" else nn.BatchNorm2d(channels)
