"""Is the forecast rain too peaked or too flat, too much, and in the wrong place: structure, amplitude, location.

Wernli et al. 2008, doi:10.1175/2008MWR2415.1; objects by pysteps (Pulkkinen et al. 2019, doi:10.5194/gmd-12-4185-2019).
"""

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch

from nowcast.contracts import InputError
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import SumsByLeadTime, Variable, share

__all__ = ["StructureAmplitudeLocation"]

NAMES = ("S", "A", "L", "|S|", "|A|")


class StructureAmplitudeLocation(SumsByLeadTime):
    """Means of S, A and L over images, and of |S| and |A|, where too much in one case does not make up for another.

    S from −2 (objects too small or peaked) to 2 (too large or flat), A from −2 (too dry) to 2 (too wet), L from 0 to 2
    (misplaced); 0 is best. Objects are connected pixels (50 at least) above 1/15 of the 95th percentile of wet rates.
    An image in which one of the fields has no object has no SAL and is left out; `sal_count` says how many remain.
    Pixels that are not judged are dry in both fields. Takes about a second for each image of 256 × 256 pixels.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: where pysteps, scikit-image or pandas are not installed.
    """

    def __init__(self, lead_times: Sequence[float], pixels: Pixels = "observed") -> None:
        super().__init__(lead_times, pixels)
        sal_of_images()
        self.sums = {name: np.zeros(len(self.lead_times)) for name in NAMES}
        self.sums["images"] = np.zeros(len(self.lead_times), dtype=np.int64)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over the images of (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        pairs = torch.stack([judged.forecast, judged.observed]).double().cpu().numpy()
        sal = sal_of_images()
        for sample, step, channel in np.ndindex(*forecast.shape[:3]):
            expected, occurred = pairs[:, sample, step, channel]
            if not (expected.any() and occurred.any()):
                continue
            structure, amplitude, location = sal(expected, occurred)
            if np.isfinite(location):  # else one of the fields has no object
                parts = structure, amplitude, location, abs(structure), abs(amplitude)
                for name, part in zip(NAMES, parts, strict=True):
                    self.sums[name][step] += part
                self.sums["images"][step] += 1

    def variables(self) -> dict[str, Variable]:
        """sal_structure, sal_amplitude, sal_location, sal_abs_structure, sal_abs_amplitude and sal_count."""
        names = ("structure", "amplitude", "location", "abs_structure", "abs_amplitude")
        labels = ("structure", "amplitude", "location", "absolute structure", "absolute amplitude")
        means = [share(self.sums[name], self.sums["images"]) for name in NAMES]
        variables = {
            f"sal_{name}": Variable(mean, "1", f"{label} of SAL")
            for name, label, mean in zip(names, labels, means, strict=True)
        }
        return variables | {"sal_count": Variable(self.sums["images"].copy(), "1", "images that have a SAL")}


def sal_of_images() -> Callable[[np.ndarray, np.ndarray], tuple[float, float, float]]:
    """pysteps' function of a forecast and an observed image. Raises InputError where it is not to be had."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
            import pandas  # noqa: F401
            import skimage  # noqa: F401
            from pysteps.verification.salscores import sal
    except ImportError as error:
        raise InputError(f'SAL needs {error.name}; install it with `pip install -e ".[baselines]"`') from error
    return sal
