"""Norms of maps that may be a single pixel of a single sample."""

from typing import Literal

import torch
from torch import nn

Norm = Literal["group", "batch"]


class SampleNorm(nn.GroupNorm):
    """Group norm of one group, which makes 0 of a sample with a single value, where torch's own raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """A norm with scale and shift of each channel: (B, C, H, W) → (B, C, H, W).

    "group" standardises all values of a sample together, so that one sample with one pixel can be trained
    on; "batch" is batch norm, mostly the paper's, which cannot.
    """
    return SampleNorm(1, channels) if kind == "group" else nn.BatchNorm2d(channels)
