"""How good forecasts are: scores by lead time, updated batch by batch, merged, and computed at the end.

Every score holds sums and counts only, so it does not matter how cases are batched or spread over processes.
All take rates (B, T_out, C, H, W) in mm/h with NaN where missing, and never average lead times. Scores of ensembles
take forecasts (B, M, T_out, C, H, W), those of probabilities, quantiles and bins (B, T_out, K, C, H, W).
`all_reduce` makes one score of several processes; `Blocks`, `interval` and `difference` say how sure a score is.

    >>> scores = standard_scores(lead_times=[5, 10, 15], thresholds=[0.1, 1])
    >>> scores.update(forecast, observed)
    >>> scores.compute().csi.sel(lead_time=10, threshold=1)
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import Summed, Variable
from nowcast.verification.bootstrap import Blocks, difference, interval
from nowcast.verification.contingency import Contingency
from nowcast.verification.continuous import Continuous
from nowcast.verification.crps import Bins, Crps, Members, Quantiles
from nowcast.verification.ensemble import RankHistogram, SpreadSkill
from nowcast.verification.fss import FractionsSkill
from nowcast.verification.pooled import PooledContingency
from nowcast.verification.probability import EventProbabilities, event_probabilities
from nowcast.verification.processes import all_reduce
from nowcast.verification.sal import StructureAmplitudeLocation
from nowcast.verification.spectrum import Spectrum
from nowcast.verification.ssim import StructuralSimilarity

__all__ = [
    "Bins",
    "Blocks",
    "Contingency",
    "Continuous",
    "Crps",
    "EventProbabilities",
    "FractionsSkill",
    "Members",
    "Pixels",
    "PooledContingency",
    "Quantiles",
    "RankHistogram",
    "Scores",
    "Spectrum",
    "SpreadSkill",
    "StructuralSimilarity",
    "StructureAmplitudeLocation",
    "all_reduce",
    "by_forecast",
    "difference",
    "event_probabilities",
    "interval",
    "standard_scores",
]


class Scores:
    """Several scores as one.

    Args:
        scores: of the same lead times; no two compute a variable of the same name.
    """

    def __init__(self, scores: Sequence[Summed]) -> None:
        self.scores = list(scores)
        self._cases = np.zeros((), dtype=np.int64)

    @property
    def cases(self) -> int:
        """Forecasts taken in."""
        return int(self._cases)

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """The sums of all scores under their number and name, and the number of cases."""
        parts = enumerate(score.sums.items() for score in self.scores)
        return {f"{number} {name}": sums for number, part in parts for name, sums in part} | {"cases": self._cases}

    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Take in (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        for score in self.scores:
            score.update(forecast, observed)
        self._cases += len(forecast)

    def merge(self, other: Self) -> None:
        """Add what other scores, the same ones in the same order, have taken in.

        Raises:
            InputError: when they are not the same.
        """
        if len(self.scores) != len(other.scores):
            raise InputError(f"{len(self.scores)} scores cannot be merged with {len(other.scores)}")
        for mine, theirs in zip(self.scores, other.scores, strict=True):
            mine.merge(theirs)
        self._cases += other._cases

    def variables(self) -> dict[str, Variable]:
        """The variables of all scores, and `cases`."""
        variables = {name: variable for score in self.scores for name, variable in score.variables().items()}
        return variables | {"cases": Variable(self._cases.copy(), "1", "forecasts taken in")}

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
