"""Motion of the rain from past frames, by the optical flow methods of pysteps.

lucaskanade: sparse pyramidal tracking (Bouguet 2001), interpolated; the usual choice.
vet: variational echo tracking (Laroche and Zawadzki 1995; Germann and Zawadzki 2002), of the last three frames;
    ten times as slow and more.
darts: a spectral method (Ruzanski et al. 2011, doi 10.1175/JTECH-D-10-05035.1). It takes time to be periodic, so
    few frames make its motion too slow: by 10 % with six, 4 % with twelve (uniform motion of 2.2 pixels a frame).
"""

from dataclasses import dataclass

import numpy as np

from nowcast.baselines._pysteps import DRY_DBR, pysteps, quiet
from nowcast.contracts import InputError

LEAST_FRAMES = {"lucaskanade": 2, "vet": 2, "darts": 6}
VET_FRAMES = 3  # it takes no more
DARTS_WAVES = 20  # in each direction; more follow smaller features and see slower motion


@dataclass(frozen=True)
class Flow:
    """How the motion is found.

    Args:
        method: lucaskanade, vet or darts.
        frames: how many past frames it is taken from.

    Raises:
        InputError: where there is no such method, or it cannot work with so few frames.
    """

    method: str
    frames: int

    def __post_init__(self) -> None:
        if self.method not in LEAST_FRAMES:
            raise InputError(f"no optical flow is called {self.method!r}; there are {', '.join(LEAST_FRAMES)}")
        least = LEAST_FRAMES[self.method]
        if self.frames < least:
            raise InputError(f"the optical flow {self.method} needs at least {least} past frames, not {self.frames}")

    def motion(self, rate: np.ndarray) -> np.ndarray:
        """Motion of (T_in, H, W) rain rates: (2, H, W), pixels a frame to the right and down; 0 where all is dry."""
        with np.errstate(divide="ignore"):
            dbr = np.maximum(10 * np.log10(rate[-self.frames :]), DRY_DBR)  # NaN stays NaN
        still = np.zeros((2, *rate.shape[1:]))
        if not (dbr > DRY_DBR).any():
            return still
        method = pysteps().motion.get_method(self.method)
        with quiet():
            if self.method == "darts":
                waves = min(DARTS_WAVES, min(rate.shape[1:]) // 2 - 3)  # 3: its motion has 2 waves more
                motion = method(np.nan_to_num(dbr, nan=DRY_DBR), N_x=waves, N_y=waves, N_t=len(dbr) // 3)
            else:
                motion = method(np.ma.masked_invalid(dbr[-VET_FRAMES:] if self.method == "vet" else dbr))
        return motion if np.isfinite(motion).all() else still
