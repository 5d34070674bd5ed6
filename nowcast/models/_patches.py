"""From pixels to patches and back, for transformers of maps that keep channels last."""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast.models._blocks import group_norm


class Merge(nn.Module):
    """Pixels of a patch side by side, normed and mixed: (…, H, W, C_in) → (…, H / factor, W / factor, C_out)."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.norm = nn.LayerNorm(factor**2 * inputs)
        self.mix = nn.Linear(factor**2 * inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = rearrange(x, "... (h dh) (w dw) c -> ... h w (dh dw c)", dh=self.factor, dw=self.factor)
        return self.mix(self.norm(patches))


class Shrink(nn.Module):
    """Two convolutions, then patches merged: (B, C_in, H, W) → (B, C_out, H / factor, W / factor)."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*convolutions(inputs, outputs))
        self.merge = Merge(outputs, outputs, factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        merged = self.merge(rearrange(self.convolutions(x), "b c h w -> b h w c"))
        return rearrange(merged, "b h w c -> b c h w")


class Grow(nn.Module):
    """Each pixel `factor` times along both axes, then a 3×3 convolution: (B, C_in, H, W) → (B, C_out, …)."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(F.interpolate(x, scale_factor=self.factor, mode="nearest"))


def convolutions(inputs: int, outputs: int) -> list[nn.Module]:
    """Twice a 3×3 convolution, norm and leaky ReLU."""
    return [
        part
        for before in (inputs, outputs)
        for part in (nn.Conv2d(before, outputs, 3, padding=1), group_norm(outputs), nn.LeakyReLU(0.1, inplace=True))
    ]


def as_maps(x: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, C) → (B T, C, H, W)."""
    return rearrange(x, "b t h w c -> (b t) c h w")


def framewise(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a module of maps makes of each frame of (B, T, H, W, C), which may change sizes."""
    return rearrange(module(as_maps(x)), "(b t) c h w -> b t h w c", b=x.shape[0])
