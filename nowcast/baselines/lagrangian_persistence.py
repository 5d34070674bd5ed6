"""Lagrangian persistence in torch alone: the last frame carried along dense motion, whole batches, on any device.

Germann and Zawadzki 2002, doi 10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2. Motion by pyramidal Lucas–Kanade
(`nowcast.motion`), five times as fast as `extrapolation` on one core. It is what `nowcast.models.lagrangian` is
untrained.
"""

import torch
from einops import rearrange

from nowcast.contracts import Forecaster, InputError
from nowcast.motion import each_displacement, lucas_kanade, read
from nowcast.scaling import scale, unscale

__all__ = ["LagrangianPersistence"]

SEEN = 0.999  # share of what a pixel is read from that must be observed


class LagrangianPersistence(Forecaster):
    """Optical flow from the past frames, then the last frame moved along it, without growth or decay.

    Pixels whose air comes from outside the observed area are NaN. Where the past is dry there is no motion. Between
    pixels reflectivities are interpolated, not rates.

    Args:
        frames: how many past frames the motion is taken from.
    """

    name = "lagrangian_persistence"

    def __init__(self, *, frames: int = 3) -> None:
        if frames < 2:
            raise InputError(f"lagrangian_persistence needs at least 2 past frames, not {frames}")
        self.past_frames = frames

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        if past.shape[1] < self.past_frames:
            raise InputError(f"{self.name} needs {self.past_frames} past frames, it was given {past.shape[1]}")
        scaled, known = scale(rearrange(past[:, -self.past_frames :], "b t c h w -> (b c) t h w"))
        rain, observed = scaled[:, -1:], known[:, -1:].to(scaled.dtype)
        moved = each_displacement(lucas_kanade(scaled, known))
        rate = rain.new_empty(len(rain), steps, *rain.shape[2:])
        for step, displacement in zip(range(steps), moved, strict=False):  # one by one, for continents fill memory
            seen = read(observed, -displacement, beyond="zeros")
            rate[:, step] = torch.where(seen > SEEN, unscale(read(rain, -displacement)), torch.nan)[:, 0]
        return rearrange(rate, "(b c) t h w -> b t c h w", b=len(past)).to(past.dtype)
