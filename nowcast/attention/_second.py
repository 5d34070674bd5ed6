"""The second of two maps to fuse, where only one may be given."""

import torch
from torch import nn

from nowcast.contracts import InputError


class SecondMap(nn.Module):
    """The map that is given, or a 3×3 convolution of the first: (B, C, H, W), maybe another → (B, C, H, W).

    Args:
        mechanism: its name, for messages.
        channels: C.
        branch: whether there is the convolution.
    """

    def __init__(self, mechanism: str, channels: int, branch: bool) -> None:
        super().__init__()
        self.mechanism = mechanism
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if branch else None

    def forward(self, x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        if y is None:
            if self.conv is None:
                raise InputError(f"{self.mechanism} without a branch fuses two maps; give it a second one")
            return self.conv(x)
        if y.shape != x.shape:
            raise InputError(f"{self.mechanism} fuses maps of one shape, not {tuple(x.shape)} and {tuple(y.shape)}")
        return y
