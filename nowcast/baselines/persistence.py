"""Eulerian persistence: every lead time looks like the last frame."""

import torch
from einops import repeat

from nowcast.contracts import Forecaster

__all__ = ["Persistence"]


class Persistence(Forecaster):
    """The last past frame again at every lead time; NaN where that frame has none."""

    name = "persistence"
    past_frames = 1

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return repeat(past[:, -1], "b c h w -> b t c h w", t=steps)
