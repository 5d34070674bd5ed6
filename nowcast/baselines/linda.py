"""LINDA: rain carried along while it blurs and decays around its own features, by pysteps.

Pulkkinen et al. 2021, doi 10.1109/TGRS.2021.3110180 (Lagrangian integro-difference equation with autoregression).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nowcast.baselines._continue import evolved, over_fields
from nowcast.baselines._flow import Flow
from nowcast.baselines._members import share_reaching
from nowcast.baselines._pysteps import pysteps
from nowcast.contracts import Forecaster

__all__ = ["LINDA"]


class LINDA(Forecaster):
    """Convolutions and an ARI(1, 1) process, fitted around up to `features` rain cells, in the moving frame.

    Made for heavy local rain. `forecast` is without noise; members have noise shaped like the model's own errors,
    and perturbed motion. About 50 s a forecast of 448 × 448 pixels and 12 steps on one core.

    Args:
        frames: how many past frames the motion is taken from.
        flow: lucaskanade, vet or darts.
        features: most rain cells; more cost more.
        members: of the ensemble behind probabilities.
        seed: the same seed makes the same ensemble.
        pixel_km: grid length, for the perturbations of motion.
        step_minutes: between frames, for the same.
    """

    name = "linda"

    def __init__(
        self,
        *,
        frames: int = 3,
        flow: str = "lucaskanade",
        features: int = 25,
        members: int = 12,
        seed: int = 0,
        pixel_km: float = 1.0,
        step_minutes: float = 5.0,
    ) -> None:
        self.flow = Flow(flow, frames)
        self.past_frames = max(frames, 3)
        self.features, self.members, self.seed = features, members, seed
        self.pixel_km, self.step_minutes = pixel_km, step_minutes

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""

        def model(rate: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
            return self._linda(rate, motion, steps, add_perturbations=False)

        return over_fields(self, past, lambda rate: evolved(rate, self.flow.motion(rate), steps, model))

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, members, steps, C, H, W) mm/h; all members alike where there is no rain."""

        def model(rate: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
            return self._linda(
                rate,
                motion,
                steps,
                n_ens_members=members,
                seed=self.seed,
                kmperpixel=self.pixel_km,
                timestep=self.step_minutes,
            )

        return over_fields(self, past, lambda rate: evolved(rate, self.flow.motion(rate), steps, model, members))

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W), share of members that reach each of K thresholds."""
        return share_reaching(self.ensemble(past, steps, self.members), thresholds)

    def _linda(self, rate: np.ndarray, motion: np.ndarray, steps: int, **options: Any) -> np.ndarray:
        linda = pysteps().nowcasts.get_method("linda")
        return linda(rate[-3:], motion, steps, max_num_features=self.features, **options)
