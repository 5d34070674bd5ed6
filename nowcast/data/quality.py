"""Is a frame fit for an archive, and what is done to it on the way: checks and quality control of radar fields."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nowcast.contracts import InputError

WET = 0.1  # mm/h from which a pixel counts as wet
SUSPICIOUS_RATE, SUSPICIOUS_SHARE = 300.0, 0.01  # mm/h; share of observed pixels above it that no weather reaches
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def why_unfit(rate: np.ndarray) -> str | None:
    """What is wrong with a field in mm/h that radar cannot have seen, or None. All dry is weather; all NaN is not."""
    observed = rate[np.isfinite(rate)]
    if np.isinf(rate).any():
        return "has infinite values"
    if not observed.size:
        return "nothing is observed"
    lowest, highest = float(observed.min()), float(observed.max())
    if lowest < 0:
        return f"has negative rates, down to {lowest:g} mm/h"
    if lowest == highest > 0:
        return f"is constant, {highest:g} mm/h everywhere"
    if highest > SUSPICIOUS_RATE:
        share = float((observed > SUSPICIOUS_RATE).mean())
        if share > SUSPICIOUS_SHARE:
            return f"has {share:.0%} of pixels above {SUSPICIOUS_RATE:g} mm/h"
    return None


@dataclass(frozen=True)
class QualityControl:
    """What is removed from every frame, and from all of them at the end. The default removes nothing.

    Args:
        speckle: wet areas of fewer pixels than this become dry.
        clip: mm/h above which rates are cut to it; None leaves them.
        clutter: a pixel that is wet in more than this share of the frames in which it is observed becomes
            unobserved in all; None keeps all. It takes weeks of frames to tell clutter from a rainy day.
    """

    speckle: int = 0
    clip: float | None = None
    clutter: float | None = None

    def __post_init__(self) -> None:
        if self.speckle < 0:
            raise InputError(f"speckle is a number of pixels, not {self.speckle}")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"rates can be clipped to more than 0 mm/h, not to {self.clip:g}")
        if self.clutter is not None and not 0 < self.clutter < 1:
            raise InputError(f"clutter is a share between 0 and 1 of the frames, not {self.clutter:g}")

    def apply(self, rate: np.ndarray) -> np.ndarray:
        """A frame without speckle and with rates clipped; NaN stays."""
        if self.speckle > 1:
            rate = without_speckle(rate, self.speckle)
        if self.clip is not None:
            rate = np.minimum(rate, np.float32(self.clip))
        return rate


def without_speckle(rate: np.ndarray, least: int) -> np.ndarray:
    """A field in which wet areas (touching also at corners) of fewer than `least` pixels are dry."""
    areas, _ = ndimage.label(rate >= WET, structure=EIGHT_NEIGHBOURS)
    small = np.bincount(areas.ravel()) < least
    small[0] = False  # area 0 is all that is not wet
    return np.where(small[areas], np.float32(0), rate)


class WetFrequency:
    """Counts how often each pixel is wet, to tell static clutter. Takes frames one by one, holds two maps."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.wet, self.observed = (np.zeros(shape, dtype=np.int64) for _ in range(2))

    def update(self, rate: np.ndarray) -> None:
        """Count a frame in mm/h with NaN."""
        self.wet += rate >= WET
        self.observed += np.isfinite(rate)

    def clutter(self, share: float) -> np.ndarray:
        """Pixels (H, W) that are wet in more than a share of the frames in which they are observed."""
        return self.wet > share * self.observed
