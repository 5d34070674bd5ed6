"""S-PROG: rain carried along while its small scales fade as they lose predictability, by pysteps.

Seed 2003, doi 10.1175/1520-0450(2003)042<0381:ADASAT>2.0.CO;2.
"""

import numpy as np
import torch

from nowcast.baselines._continue import evolved, over_fields
from nowcast.baselines._flow import Flow
from nowcast.baselines._pysteps import LEAST_DBR, from_dbr, pysteps, to_dbr
from nowcast.contracts import Forecaster

__all__ = ["SPROG"]


class SPROG(Forecaster):
    """Spectral prognosis: a cascade of scales, each an AR(2) process in the moving frame, without noise.

    The forecast grows smoother with lead time; its distribution is matched to that of the last frame.

    Args:
        frames: how many past frames the motion is taken from.
        flow: lucaskanade, vet or darts.
        levels: of the cascade.
    """

    name = "sprog"

    def __init__(self, *, frames: int = 3, flow: str = "lucaskanade", levels: int = 6) -> None:
        self.flow = Flow(flow, frames)
        self.levels = levels
        self.past_frames = max(frames, 3)

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return over_fields(self, past, lambda rate: evolved(rate, self.flow.motion(rate), steps, self._model))

    def _model(self, rate: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
        sprog = pysteps().nowcasts.get_method("sprog")
        return from_dbr(sprog(to_dbr(rate[-3:]), motion, steps, precip_thr=LEAST_DBR, n_cascade_levels=self.levels))
