"""Lagrangian persistence: the last frame carried along the motion of the rain, by pysteps.

Motion by pyramidal Lucas–Kanade (Bouguet 2001; Pulkkinen et al. 2019, doi 10.5194/gmd-12-4185-2019), carried by the
backward semi-Lagrangian scheme of Germann and Zawadzki 2002.
"""

import contextlib
import io
from types import ModuleType

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError

__all__ = ["Extrapolation"]

DRY_DBR = -15.0  # what pysteps sees where it is dry: 0.03 mm/h, below every threshold in use


class Extrapolation(Forecaster):
    """Optical flow from the past frames, then the last frame moved along it, without growth or decay.

    Pixels whose air comes from outside the observed area are NaN. Where the past is dry there is no motion.

    Args:
        frames: how many past frames the motion is taken from.
    """

    name = "extrapolation"

    def __init__(self, *, frames: int = 3) -> None:
        if frames < 2:
            raise InputError(f"extrapolation needs at least 2 past frames, not {frames}")
        self.past_frames = frames

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        if past.shape[1] < self.past_frames:
            raise InputError(f"extrapolation needs {self.past_frames} past frames, it was given {past.shape[1]}")
        frames = past[:, -self.past_frames :].cpu().numpy()
        samples = [
            np.stack([self._continue(sample[:, channel], steps) for channel in range(past.shape[2])], axis=1)
            for sample in frames
        ]
        return torch.from_numpy(np.stack(samples)).to(past)

    def _continue(self, rate: np.ndarray, steps: int) -> np.ndarray:
        """(T_in, H, W) → (steps, H, W)."""
        if np.isnan(rate[-1]).all():
            return np.full((steps, *rate.shape[1:]), np.nan, dtype=np.float32)
        moved = _pysteps().nowcasts.get_method("extrapolation")(
            rate[-1], self.motion(rate), steps, extrap_kwargs={"allow_nonfinite_values": True}
        )
        return np.maximum(moved, 0).astype(np.float32)  # NaN stays NaN

    def motion(self, rate: np.ndarray) -> np.ndarray:
        """Motion of (T_in, H, W) rain rates: (2, H, W), pixels a frame to the right and down."""
        with np.errstate(divide="ignore"):
            dbr = np.ma.masked_invalid(np.maximum(10 * np.log10(rate), DRY_DBR))
        if (dbr.filled(DRY_DBR) <= DRY_DBR).all():
            return np.zeros((2, *rate.shape[1:]))
        return _pysteps().motion.get_method("lucaskanade")(dbr)


def _pysteps() -> ModuleType:
    """pysteps with what we use of it, imported when first needed and without the line it prints."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import cv2  # noqa: F401
            import pysteps
            import pysteps.motion
            import pysteps.nowcasts
    except ImportError as error:
        raise InputError(
            f"extrapolation needs pysteps and opencv ({error}): pip install 'nowcast[baselines]'"
        ) from error
    return pysteps
