"""Lagrangian persistence: the last frame carried along the motion of the rain, by pysteps.

Carried by the backward semi-Lagrangian scheme of Germann and Zawadzki 2002; Pulkkinen et al. 2019,
doi 10.5194/gmd-12-4185-2019.
"""

import numpy as np
import torch

from nowcast.baselines._continue import carried, over_fields
from nowcast.baselines._flow import Flow
from nowcast.contracts import Forecaster

__all__ = ["Extrapolation"]


class Extrapolation(Forecaster):
    """Optical flow from the past frames, then the last frame moved along it, without growth or decay.

    Pixels whose air comes from outside the observed area are NaN. Where the past is dry there is no motion.

    Args:
        frames: how many past frames the motion is taken from.
        flow: lucaskanade, vet or darts.
    """

    name = "extrapolation"

    def __init__(self, *, frames: int = 3, flow: str = "lucaskanade") -> None:
        self.flow = Flow(flow, frames)
        self.past_frames = frames

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return over_fields(self, past, lambda rate: carried(rate[-1], self.motion(rate), steps))

    def motion(self, rate: np.ndarray) -> np.ndarray:
        """Motion of (T_in, H, W) rain rates: (2, H, W), pixels a frame to the right and down."""
        return self.flow.motion(rate)
