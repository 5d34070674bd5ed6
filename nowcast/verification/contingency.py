"""Did rain come where it was forecast: scores of the contingency table of events.

Wilks 2011, "Statistical Methods in the Atmospheric Sciences" (3rd ed., Academic Press), section 8.2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import SumsByLeadTime, by_lead_time, rising

__all__ = ["Contingency"]

CELLS = ("hits", "misses", "false_alarms", "correct_negatives")

# Rates are stored in hundredths of mm/h and unpacked to float32, where 10 hundredths may be 0.09999999. So a
# rate reaches a threshold when it is less than a millionth below: eight times the spacing of float32, and a
# fifteenth of the smallest relative step between two stored rates.
TIE = 1e-6


class Contingency(SumsByLeadTime):
    """Counts pixels where an event (rate ≥ threshold) was forecast or not, and observed or not.

    With a hits, b false alarms, c misses, d correct negatives, n = a + b + c + d and e = ad − bc, at each
    lead time and threshold: CSI = a / (a + b + c), POD = a / (a + c), FAR = b / (a + b) (the false alarm
    ratio), frequency bias = (a + b) / (a + c), HSS = 2e / (2e + n(b + c)), ETS = e / (e + n(b + c)).
    0/0 is NaN, not 0: where nothing happened there is nothing to score. The frequency bias of events that
    were forecast but never happened is infinite.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        thresholds: mm/h, positive and rising.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for thresholds that are not positive or do not rise.
    """

    def __init__(
        self,
        lead_times: Sequence[float],
        thresholds: Sequence[float] = (0.1, 1.0, 5.0),
        pixels: Pixels = "observed",
    ) -> None:
        super().__init__(lead_times, pixels)
        self.thresholds = rising("thresholds in mm/h", thresholds)
        if self.thresholds[0] <= 0:
            raise InputError(f"thresholds must be above 0 mm/h, which is everywhere, not {list(thresholds)}")
        size = len(self.lead_times), len(self.thresholds)
        self.sums = {cell: np.zeros(size, dtype=np.int64) for cell in CELLS}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before counts may be added."""
        return {**super().protocol, "thresholds": self.thresholds}

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Count (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        pixels = by_lead_time(judged.known)
        columns = []
        for threshold in self.thresholds:
            # Pixels that are not judged are 0 in both fields, so they are events in neither.
            expected = judged.forecast >= threshold * (1 - TIE)
            occurred = judged.observed >= threshold * (1 - TIE)
            hits = by_lead_time(expected & occurred)
            misses, false_alarms = by_lead_time(occurred) - hits, by_lead_time(expected) - hits
            columns.append(torch.stack([hits, misses, false_alarms, pixels - hits - misses - false_alarms]))
        self.add(dict(zip(CELLS, torch.stack(columns, dim=-1), strict=True)))

    def compute(self) -> xr.Dataset:
        """csi, pod, far, frequency_bias, hss, ets and observed_events by lead_time and threshold."""
        # As float64, because products of two counts may pass 2⁶³.
        hits, misses, false_alarms, correct_negatives = (self.sums[cell].astype(np.float64) for cell in CELLS)
        wrong = (hits + misses + false_alarms + correct_negatives) * (misses + false_alarms)
        observed_events = self.sums["hits"] + self.sums["misses"]
        better = hits * correct_negatives - misses * false_alarms
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = {
                "csi": (hits / (hits + misses + false_alarms), "1", "critical success index"),
                "pod": (hits / (hits + misses), "1", "probability of detection"),
                "far": (false_alarms / (hits + false_alarms), "1", "false alarm ratio"),
                "frequency_bias": ((hits + false_alarms) / (hits + misses), "1", "frequency bias"),
                "hss": (2 * better / (2 * better + wrong), "1", "Heidke skill score"),
                "ets": (better / (better + wrong), "1", "equitable threat score"),
                "observed_events": (observed_events, "1", "pixels with an observed event"),
            }
        return self.dataset(scores, self.thresholds)
