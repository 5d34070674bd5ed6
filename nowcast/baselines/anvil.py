"""ANVIL: rain carried along while it grows and decays as it did, by pysteps.

Pulkkinen et al. 2020, doi 10.1109/TGRS.2020.3000606; here on rain rate instead of vertically integrated liquid.
"""

import numpy as np
import torch

from nowcast.baselines._continue import evolved, over_fields
from nowcast.baselines._flow import Flow
from nowcast.baselines._pysteps import pysteps
from nowcast.contracts import Forecaster

__all__ = ["ANVIL"]


class ANVIL(Forecaster):
    """An ARI(2, 1) process for each scale, with parameters that vary in space, in the moving frame.

    It continues the change of the last four frames, locally; nothing appears where it did not rain.

    Args:
        frames: how many past frames the motion is taken from.
        flow: lucaskanade, vet or darts.
        levels: of the cascade.
        radius: of the window its parameters are estimated in, in pixels.
    """

    name = "anvil"

    def __init__(self, *, frames: int = 3, flow: str = "lucaskanade", levels: int = 6, radius: float = 50) -> None:
        self.flow = Flow(flow, frames)
        self.levels, self.radius = levels, radius
        self.past_frames = max(frames, 4)

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return over_fields(self, past, lambda rate: evolved(rate, self.flow.motion(rate), steps, self._model))

    def _model(self, rate: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
        anvil = pysteps().nowcasts.get_method("anvil")
        return anvil(rate[-4:], motion, steps, n_cascade_levels=self.levels, ar_window_radius=self.radius)
