"""How much rain was forecast beside how much fell: errors in mm/h and linear correlation.

Wilks 2011, "Statistical Methods in the Atmospheric Sciences" (3rd ed., Academic Press), section 8.3.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["Continuous"]

COUNTS = ("judged", "observed", "missing")  # pixels
MOMENTS = ("|e|", "e²", "e", "f", "o", "f²", "o²", "fo")

# A variance below this share of the mean square is rounding: a constant field, which correlates with nothing.
CONSTANT = 1e-12


class Continuous(SumsByLeadTime):
    """Sums errors e = f − o of the forecast f against the observed o, and the moments of f and o.

    MAE = ⟨|e|⟩, RMSE = √⟨e²⟩, bias = ⟨e⟩ and Pearson's correlation of f and o, where ⟨⟩ is the mean over all
    judged pixels of a lead time together, not a mean of the scores of single images. NaN where no pixel was
    judged; a constant field has no correlation.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).
    """

    def __init__(self, lead_times: Sequence[float], pixels: Pixels = "observed") -> None:
        super().__init__(lead_times, pixels)
        size = len(self.lead_times)
        self.sums = {name: np.zeros(size, dtype=np.int64) for name in COUNTS}
        self.sums |= {name: np.zeros(size, dtype=np.float64) for name in MOMENTS}

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        f, o = judged.forecast.double(), judged.observed.double()
        e = f - o
        counted = (judged.known, judged.known | judged.missing, judged.missing)
        moments = (e.abs(), e.square(), e, f, o, f.square(), o.square(), f * o)
        names, fields = COUNTS + MOMENTS, counted + moments
        self.add({name: by_lead_time(field) for name, field in zip(names, fields, strict=True)})

    def variables(self) -> dict[str, Variable]:
        """mae, rmse, bias, correlation, missing_share and pixel_count."""
        judged, observed, missing = (self.sums[name] for name in COUNTS)
        mean = {name: share(self.sums[name], judged) for name in MOMENTS}
        return {
            "mae": Variable(mean["|e|"], "mm h-1", "mean absolute error"),
            "rmse": Variable(np.sqrt(mean["e²"]), "mm h-1", "root mean square error"),
            "bias": Variable(mean["e"], "mm h-1", "mean error, forecast − observed"),
            "correlation": Variable(correlation(mean), "1", "Pearson's correlation"),
            "missing_share": Variable(share(missing, observed), "1", "share of observed pixels without a forecast"),
            "pixel_count": Variable(judged.copy(), "1", "judged pixels"),
        }


def correlation(mean: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pearson's correlation of f and o from the means of f, o, f², o² and fo; NaN where one is constant."""
    deviation = {}
    for name in "fo":
        variance = mean[f"{name}²"] - mean[name] ** 2
        deviation[name] = np.sqrt(np.where(variance > CONSTANT * mean[f"{name}²"], variance, np.nan))
    return (mean["fo"] - mean["f"] * mean["o"]) / (deviation["f"] * deviation["o"])
