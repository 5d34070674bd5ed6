"""Parts of transformer blocks that keep the layout of maps."""

import torch
from einops import rearrange
from torch import nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm of the channels of each pixel: (B, C, H, W) → (B, C, H, W)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rearrange(super().forward(rearrange(x, "b c h w -> b h w c")), "b h w c -> b c h w")


class Residual(nn.Sequential):
    """Layers as a correction of their input: y = x + layers(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)
