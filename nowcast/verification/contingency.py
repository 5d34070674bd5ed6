"""Did rain come where it was forecast: scores of the contingency table of events.

Wilks 2011, "Statistical Methods in the Atmospheric Sciences" (3rd ed., Academic Press), section 8.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from nowcast.verification._events import event_thresholds, reaches, threshold_axis
from nowcast.verification._pixels import Judged, Pixels
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["Contingency"]

CELLS = ("hits", "misses", "false_alarms", "correct_negatives")


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
        self.thresholds = event_thresholds(thresholds)
        size = len(self.lead_times), len(self.thresholds)
        self.sums = {cell: np.zeros(size, dtype=np.int64) for cell in CELLS}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before counts may be added."""
        return {**super().protocol, "thresholds": self.thresholds}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """threshold."""
        return (threshold_axis(self.thresholds),)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Count (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        self.add(dict(zip(CELLS, count(self.judge(forecast, observed), self.thresholds), strict=True)))

    def variables(self) -> dict[str, Variable]:
        """csi, pod, far, frequency_bias, hss, ets and observed_events."""
        return table_scores(self.sums)


def count(judged: Judged, thresholds: Sequence[float]) -> torch.Tensor:
    """Pixels in each cell of the table, (cell, T_out, threshold) int64; cells as in CELLS."""
    pixels = by_lead_time(judged.known)
    columns = []
    for threshold in thresholds:
        # Pixels that are not judged are 0 in both fields, so they are events in neither.
        expected, occurred = reaches(judged.forecast, threshold), reaches(judged.observed, threshold)
        hits = by_lead_time(expected & occurred)
        misses, false_alarms = by_lead_time(occurred) - hits, by_lead_time(expected) - hits
        columns.append(torch.stack([hits, misses, false_alarms, pixels - hits - misses - false_alarms]))
    return torch.stack(columns, dim=-1)


def table_scores(cells: Mapping[str, np.ndarray]) -> dict[str, Variable]:
    """Scores of tables of counts, by name of the cell."""
    # As float64, because products of two counts may pass 2⁶³.
    hits, misses, false_alarms, correct_negatives = (cells[cell].astype(np.float64) for cell in CELLS)
    wrong = (hits + misses + false_alarms + correct_negatives) * (misses + false_alarms)
    better = hits * correct_negatives - misses * false_alarms
    return {
        "csi": Variable(share(hits, hits + misses + false_alarms), "1", "critical success index"),
        "pod": Variable(share(hits, hits + misses), "1", "probability of detection"),
        "far": Variable(share(false_alarms, hits + false_alarms), "1", "false alarm ratio"),
        "frequency_bias": Variable(share(hits + false_alarms, hits + misses), "1", "frequency bias"),
        "hss": Variable(share(2 * better, 2 * better + wrong), "1", "Heidke skill score"),
        "ets": Variable(share(better, better + wrong), "1", "equitable threat score"),
        "observed_events": Variable(cells["hits"] + cells["misses"], "1", "pixels with an observed event"),
    }
