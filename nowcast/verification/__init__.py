"""How good forecasts are: scores by lead time, updated batch by batch, merged, and computed at the end.

Every score holds sums and counts only, so it does not matter how cases are batched or spread over processes.
All take rates (B, T_out, C, H, W) in mm/h with NaN where missing, and never average lead times.

    >>> scores = standard_scores(lead_times=[5, 10, 15], thresholds=[0.1, 1])
    >>> scores.update(forecast, observed)
    >>> scores.compute().csi.sel(lead_time=10, threshold=1)
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import xarray as xr

from nowcast.contracts import InputError, Score
from nowcast.verification._pixels import Pixels
from nowcast.verification.contingency import Contingency
from nowcast.verification.continuous import Continuous

__all__ = ["Contingency", "Continuous", "Pixels", "Scores", "by_forecast", "standard_scores"]


class Scores:
    """Several scores as one.

    Args:
        scores: of the same lead times; no two compute a variable of the same name.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        self.scores = list(scores)
        self.cases = 0

    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Take in (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        for score in self.scores:
            score.update(forecast, observed)
        self.cases += len(forecast)

    def merge(self, other: Self) -> None:
        """Add what other scores, the same ones in the same order, have taken in.

        Raises:
            InputError: when they are not the same.
        """
        if len(self.scores) != len(other.scores):
            raise InputError(f"{len(self.scores)} scores cannot be merged with {len(other.scores)}")
        for mine, theirs in zip(self.scores, other.scores, strict=True):
            mine.merge(theirs)
        self.cases += other.cases

    def compute(self) -> xr.Dataset:
        """All their variables in one dataset, and `cases`, the number of forecasts taken in."""
        datasets = [score.compute() for score in self.scores]
        merged = xr.merge(datasets, compat="no_conflicts", join="exact", combine_attrs="no_conflicts")
        return merged.assign(cases=((), self.cases, {"units": "1", "long_name": "forecasts taken in"}))


def standard_scores(
    lead_times: Sequence[float],
    thresholds: Sequence[float] = (0.1, 1.0, 5.0),
    pixels: Pixels = "observed",
) -> Scores:
    """The scores that every program reports: continuous ones, and those of events at each threshold.

    Args:
        lead_times: minutes.
        thresholds: mm/h.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).
    """
    return Scores([Continuous(lead_times, pixels), Contingency(lead_times, thresholds, pixels)])


def by_forecast(scores: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Computed scores by name of the forecast, as one dataset with dimension forecast."""
    names = xr.DataArray(list(scores), dims="forecast", name="forecast")
    return xr.concat(list(scores.values()), dim=names, join="exact", combine_attrs="no_conflicts")
