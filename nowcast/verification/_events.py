"""Events: what it means that a rate reaches a threshold, the same for every score."""

from collections.abc import Sequence

import torch

from nowcast.contracts import InputError
from nowcast.verification._sums import Axis, rising

# Rates are stored in hundredths of mm/h and unpacked to float32, where 10 hundredths may be 0.09999999. So a
# rate reaches a threshold when it is less than a millionth below: eight times the spacing of float32, and a
# fifteenth of the smallest relative step between two stored rates.
TIE = 1e-6


def reaches(rate: torch.Tensor, threshold: float) -> torch.Tensor:
    """Where (bool) a rate in mm/h is an event."""
    return rate >= threshold * (1 - TIE)


def event_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds in mm/h that rise and are above 0, which is everywhere. Raises InputError for others."""
    rates = rising("thresholds in mm/h", thresholds)
    if rates[0] <= 0:
        raise InputError(f"thresholds must be above 0 mm/h, which is everywhere, not {list(thresholds)}")
    return rates


def threshold_axis(thresholds: Sequence[float]) -> Axis:
    """The dimension that thresholds in mm/h are."""
    return Axis("threshold", thresholds, "mm h-1", "least rain rate of an event")
