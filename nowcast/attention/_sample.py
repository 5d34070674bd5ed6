"""Maps read between pixels, on rectangular grids of places."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import repeat

from nowcast.attention._precision import at_least_single


def pixel_centres(length: int, like: torch.Tensor) -> torch.Tensor:
    """Where the pixels along an axis are, its edges being −1 and 1, in full precision: (length,)."""
    places = torch.arange(length, dtype=at_least_single(like).dtype, device=like.device)
    return (2 * places + 1) / length - 1


def read(
    x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, beyond: Literal["zeros", "border"] = "zeros"
) -> torch.Tensor:
    """Bilinear values of (B, C, H, W) at rows (B, h) and columns (B, w), the map's edges being ±1: (B, C, h, w)."""
    maps = at_least_single(x)
    grid = (repeat(columns, "b w -> b h w", h=rows.shape[1]), repeat(rows, "b h -> b h w", w=columns.shape[1]))
    places = torch.stack(grid, dim=3).to(maps.dtype)
    return F.grid_sample(maps, places, padding_mode=beyond, align_corners=False).to(x.dtype)
