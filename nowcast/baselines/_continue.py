"""What the pysteps baselines share: one field at a time, dry pasts, nodata, and which pixels can be said at all."""

import logging
from collections.abc import Callable

import numpy as np
import torch

from nowcast.baselines._pysteps import LEAST_RATE, pysteps, quiet
from nowcast.contracts import Forecaster, InputError

LOG = logging.getLogger(__name__)


def over_fields(
    forecaster: Forecaster, past: torch.Tensor, continue_field: Callable[[np.ndarray], np.ndarray]
) -> torch.Tensor:
    """Apply (past_frames, H, W) → (…, H, W) to every sample and channel: (B, T_in, C, H, W) → (B, …, C, H, W)."""
    frames = forecaster.past_frames
    if past.shape[1] < frames:
        raise InputError(f"{forecaster.name} needs {frames} past frames, it was given {past.shape[1]}")
    samples = [
        np.stack([continue_field(sample[:, channel]) for channel in range(past.shape[2])], axis=-3)
        for sample in past[:, -frames:].cpu().numpy()
    ]
    return torch.from_numpy(np.stack(samples)).to(past)


def carried(last: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
    """The last frame (H, W) moved along a motion (2, H, W): (steps, H, W); NaN where unobserved air arrives."""
    if np.isnan(last).all():
        return np.full((steps, *last.shape), np.nan, dtype=np.float32)
    extrapolate = pysteps().nowcasts.get_method("extrapolation")
    with quiet():
        moved = extrapolate(last, motion, steps, extrap_kwargs={"allow_nonfinite_values": True})
    return np.maximum(moved, 0).astype(np.float32)  # NaN stays NaN


def evolved(
    rate: np.ndarray,
    motion: np.ndarray,
    steps: int,
    model: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
    members: int | None = None,
) -> np.ndarray:
    """Rain rates (T_in, H, W) continued by a model of pysteps: (steps, H, W), or (members, steps, H, W).

    The model sees unobserved pixels dry. It is asked only when every frame has rain, for it learns from their
    differences; otherwise, where it finds nothing to learn, and at pixels it has no value for, the last frame is
    carried along. Where that is NaN, so is this: every baseline and member answers for the same pixels.

    Args:
        rate: mm/h with NaN.
        motion: (2, H, W), pixels a frame.
        steps: to forecast.
        model: (rate, motion, steps) → rate, with members in front if it has them; a ValueError says that it finds
            nothing to learn.
        members: how many it makes.
    """
    moved = carried(rate[-1], motion, steps)
    forecast = _ask(np.nan_to_num(rate, nan=0.0).astype(np.float64), motion, steps, model)
    if forecast is None:
        return moved if members is None else np.broadcast_to(moved, (members, *moved.shape))
    forecast = np.where(np.isfinite(forecast), np.maximum(forecast, 0), moved)
    return np.where(np.isnan(moved), np.nan, forecast).astype(np.float32)


def _ask(
    rate: np.ndarray, motion: np.ndarray, steps: int, model: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
) -> np.ndarray | None:
    """What the model makes of rain rates without gaps; None where there is nothing to learn from."""
    if not (rate >= LEAST_RATE).any(axis=(-2, -1)).all():
        return None
    try:
        with quiet():
            return model(rate, motion, steps)
    except ValueError as error:  # LinAlgError is one: rain that only moves, or hardly any, determines no process
        LOG.info("the last frame is carried along without change, pysteps found no process: %s", error)
        return None
