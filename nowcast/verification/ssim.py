"""How much a forecast looks like the observation: structural similarity of radar images.

Wang et al. 2004, doi:10.1109/TIP.2003.819861.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from nowcast.contracts import InputError
from nowcast.scaling import rate_to_dbz
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["StructuralSimilarity"]

# Wang et al.: a Gaussian of 1.5 pixels cut to 11 × 11, and constants for weak signals.
WIDTH, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


class StructuralSimilarity(SumsByLeadTime):
    """Mean SSIM of reflectivity from 0 dBZ (and dry) to `largest_dbz`, over windows of 11 × 11 pixels.

    Reflectivity, because that is the image people look at. Only windows whose pixels are all judged count. Where both
    are dry a window has SSIM 1, so compare models on the same cases, and no model between data sets.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        largest_dbz: where reflectivity is cut, the data range of SSIM.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for a data range that is not above 0.
    """

    def __init__(self, lead_times: Sequence[float], largest_dbz: float = 60.0, pixels: Pixels = "observed") -> None:
        super().__init__(lead_times, pixels)
        if not 0 < largest_dbz < float("inf"):
            raise InputError(f"largest_dbz must be above 0 dBZ, not {largest_dbz}")
        self.largest_dbz = float(largest_dbz)
        self.sums = {"ssim": np.zeros(len(self.lead_times)), "windows": np.zeros(len(self.lead_times), dtype=np.int64)}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "largest dBZ": self.largest_dbz}

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over windows of (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        if min(forecast.shape[-2:]) < WIDTH:
            given = "×".join(map(str, forecast.shape[-2:]))
            raise InputError(f"SSIM needs fields of {WIDTH}×{WIDTH} pixels at least, not {given}")
        whole = whole_windows(judged.known)
        f, o = (rate_to_dbz(rate.double()).clamp(0, self.largest_dbz) for rate in judged[:2])
        similarity = torch.where(whole, ssim(f, o, self.largest_dbz), 0)
        self.add({"ssim": by_lead_time(similarity), "windows": by_lead_time(whole)})

    def variables(self) -> dict[str, Variable]:
        """ssim."""
        mean = share(self.sums["ssim"], self.sums["windows"])
        return {"ssim": Variable(mean, "1", f"structural similarity, 0 to {self.largest_dbz:g} dBZ")}


def ssim(f: torch.Tensor, o: torch.Tensor, data_range: float) -> torch.Tensor:
    """Similarity of two fields (B, T_out, C, H, W) in each window that lies within them."""
    mean_f, mean_o, square_f, square_o, product = (smooth(x) for x in (f, o, f * f, o * o, f * o))
    variances = square_f - mean_f.square() + square_o - mean_o.square()
    covariance = product - mean_f * mean_o
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    means = (2 * mean_f * mean_o + c1) / (mean_f.square() + mean_o.square() + c1)
    return means * (2 * covariance + c2) / (variances + c2)


def smooth(field: torch.Tensor) -> torch.Tensor:
    """Gaussian means, (…, H, W) → (…, H − 10, W − 10); by shifted sums, since convolution in 64 bits is slow."""
    distance = np.arange(WIDTH) - WIDTH // 2
    weights = np.exp(-(distance**2) / (2 * SIGMA**2))
    for axis in (-2, -1):
        length = field.shape[axis] - WIDTH + 1
        mean = torch.zeros_like(field.narrow(axis, 0, length))
        for first, weight in enumerate((weights / weights.sum()).tolist()):
            mean.add_(field.narrow(axis, first, length), alpha=weight)
        field = mean
    return field


def whole_windows(known: torch.Tensor) -> torch.Tensor:
    """Windows whose pixels are all known, (B, T_out, C, H, W) → (B, T_out, C, H − 10, W − 10) bool."""
    gaps = F.max_pool2d(rearrange((~known).float(), "b t c h w -> b (t c) h w"), WIDTH, stride=1)
    return rearrange(gaps == 0, "b (t c) h w -> b t c h w", c=known.shape[2])
