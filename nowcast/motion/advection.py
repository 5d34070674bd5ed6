"""Backward semi-Lagrangian advection along a steady motion.

Germann and Zawadzki 2002, "Scale-dependence of the predictability of precipitation from continental radar images.
Part I", Mon. Weather Rev. 130, doi 10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2. Every lead time reads the field
once, at the place where its air comes from, so that carrying it far does not blur it more.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import torch
from einops import rearrange
from torch.nn import functional as F

__all__ = ["advect", "displacements", "each_displacement", "read"]

TOLERANCE = 1e-3  # pixels beyond the edge that still count as on it: places are rounded to about 1e-5


def displacements(motion: torch.Tensor, steps: int, iterations: int = 1) -> torch.Tensor:
    """How far air has moved to each pixel in 1, 2, … `steps` frames; it was at the pixel's place less this.

    D_k(x) = D_{k−1}(x) + α with α = u(x − D_{k−1} − α/2): the step before is followed through its middle, so that
    turning motion is followed to second order. Beyond the edge the motion of the edge holds. With −motion it is minus
    how far the pixel's own air will go.

    Args:
        motion: (B, 2, H, W), pixels a frame (down, right).
        steps: frames.
        iterations: of the equation for α, which starts from the step before.

    Returns:
        (B, steps, 2, H, W), pixels (down, right).
    """
    return torch.stack(list(islice(each_displacement(motion, iterations), steps)), dim=1)


def each_displacement(motion: torch.Tensor, iterations: int = 1) -> Iterator[torch.Tensor]:
    """The displacements of one frame after the other, (B, 2, H, W), without end; see `displacements`."""
    total, step = torch.zeros_like(motion), motion
    while True:
        for _ in range(iterations):
            step = read(motion, -(total + step / 2))
        total = total + step
        yield total


def advect(
    fields: torch.Tensor, displacement: torch.Tensor, beyond: Literal["zeros", "border"] = "border"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fields carried by given displacements, all at once.

    Args:
        fields: (B, K, C, H, W); or (B, 1, C, H, W), the same for every displacement.
        displacement: (B, K, 2, H, W), pixels (down, right), as `displacements` gives.
        beyond: what air from outside the grid carries: nothing, or what is nearest on the edge.

    Returns:
        carried: (B, K, C, H, W).
        inside: (B, K, 1, H, W), bool, whether the air comes from inside the grid.
    """
    count, (height, width) = displacement.shape[1], displacement.shape[-2:]
    fields = fields.expand(-1, count, -1, -1, -1)
    carried = read(
        rearrange(fields, "b k c h w -> (b k) c h w"), -rearrange(displacement, "b k d h w -> (b k) d h w"), beyond
    )
    rows, columns = _places(-displacement.detach())
    inside = (
        (rows >= -TOLERANCE)
        & (rows <= height - 1 + TOLERANCE)
        & (columns >= -TOLERANCE)
        & (columns <= width - 1 + TOLERANCE)
    )
    return rearrange(carried, "(b k) c h w -> b k c h w", k=count), inside.unsqueeze(-3)


def read(fields: torch.Tensor, offset: torch.Tensor, beyond: Literal["zeros", "border"] = "border") -> torch.Tensor:
    """Bilinear values of (B, C, H, W) at each pixel's place plus an offset (B, 2, H, W) in pixels (down, right)."""
    height, width = fields.shape[-2:]
    rows, columns = _places(offset)
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    return F.grid_sample(fields, grid, padding_mode=beyond, align_corners=False)


def _places(offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns, (…, H, W), of all pixels plus (…, 2, H, W)."""
    height, width = offset.shape[-2:]
    rows = torch.arange(height, dtype=offset.dtype, device=offset.device)
    columns = torch.arange(width, dtype=offset.dtype, device=offset.device)
    return offset[..., 0, :, :] + rows[:, None], offset[..., 1, :, :] + columns
