"""Is what comes one more member: rank histogram, and spread beside error.

Hamill 2001, doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2; Fortin et al. 2014, doi:10.1175/JHM-D-14-0008.1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nowcast.contracts import InputError
from nowcast.verification._events import event_thresholds, reaches
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["RankHistogram", "SpreadSkill"]


class RankHistogram(SumsByLeadTime):
    """How often the observed rate has each rank among M members: flat if it could be one of them.

    A ∪ means too little spread, a slope a bias. Where the rate equals members it is shared evenly among the ranks it
    may have. Rates below `wet` are dry, and pixels where all are dry say nothing and are left out.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        members: M.
        wet: mm/h, above 0.
        pixels: "observed" (a missing member counts as dry) or "common" (only where all exist).

    Raises:
        InputError: for no member, or a rate that is not above 0.
    """

    def __init__(
        self, lead_times: Sequence[float], members: int, wet: float = 0.1, pixels: Pixels = "observed"
    ) -> None:
        super().__init__(lead_times, pixels)
        self.members = at_least("a rank histogram", members, 1)
        (self.wet,) = event_thresholds([wet])
        # Counts of members below and of members equal; ties are shared out in the end, so that counts stay whole.
        self.sums = {"ranks": np.zeros((len(self.lead_times), members + 1, members + 1), dtype=np.int64)}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before counts may be added."""
        return {**super().protocol, "members": self.members, "wet": self.wet}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """rank, the number of members below."""
        return (Axis("rank", range(self.members + 1), "1", "members below the observed rate"),)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Count (B, M, T_out, C, H, W) and (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge_stack(forecast, observed, axis=1, size=self.members)
        some = judged.known & (reaches(judged.observed, self.wet) | reaches(judged.forecast.amax(dim=0), self.wet))
        kinds = self.members + 1
        for step in range(len(self.lead_times)):
            rates = judged.forecast[:, :, step][:, some[:, step]], judged.observed[:, step][some[:, step]]
            members, rate = (torch.where(reaches(field, self.wet), field, 0) for field in rates)
            below, equal = (members < rate).sum(dim=0), (members == rate).sum(dim=0)
            counts = torch.bincount(below * kinds + equal, minlength=kinds**2).cpu().numpy()
            self.sums["ranks"][step] += counts.reshape(kinds, kinds)

    def variables(self) -> dict[str, Variable]:
        """rank_histogram, which adds up to 1, and rank_count."""
        histogram = np.zeros((len(self.lead_times), self.members + 1))
        for below in range(self.members + 1):
            for equal in range(self.members + 1 - below):
                histogram[:, below : below + equal + 1] += self.sums["ranks"][:, below, equal, None] / (equal + 1)
        count = self.sums["ranks"].sum(axis=(1, 2))
        return {
            "rank_histogram": Variable(share(histogram, count[:, None]), "1", "share of observed rates with a rank"),
            "rank_count": Variable(count, "1", "pixels that have a rank", ()),
        }


class SpreadSkill(SumsByLeadTime):
    """Spread of M members beside the error of their mean: equal on average if the ensemble knows its own error.

    Spread is √⟨variance over members (dividing by M − 1)⟩, error the RMSE of the ensemble mean, and their ratio
    √((M + 1) / M) spread / error is 1 for any M if the observed rate could be a member; below 1 there is too
    little spread.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        members: M, two or more.
        pixels: "observed" (a missing member counts as dry) or "common" (only where all exist).

    Raises:
        InputError: for fewer than two members.
    """

    def __init__(self, lead_times: Sequence[float], members: int, pixels: Pixels = "observed") -> None:
        super().__init__(lead_times, pixels)
        self.members = at_least("a spread", members, 2)
        self.sums = {name: np.zeros(len(self.lead_times)) for name in ("variance", "e²")}
        self.sums["judged"] = np.zeros(len(self.lead_times), dtype=np.int64)

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "members": self.members}

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over (B, M, T_out, C, H, W) and (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge_stack(forecast, observed, axis=1, size=self.members)
        # Pixels that are not judged are 0 in all fields, with neither spread nor error.
        variance, mean = torch.var_mean(judged.forecast.double(), dim=0)
        error = mean - judged.observed.double()
        fields = {"variance": variance, "e²": error.square(), "judged": judged.known}
        self.add({name: by_lead_time(field) for name, field in fields.items()})

    def variables(self) -> dict[str, Variable]:
        """ensemble_spread, ensemble_rmse and spread_skill_ratio."""
        spread, error = (np.sqrt(share(self.sums[name], self.sums["judged"])) for name in ("variance", "e²"))
        ratio = np.sqrt((self.members + 1) / self.members) * share(spread, error)
        return {
            "ensemble_spread": Variable(spread, "mm h-1", "spread of the members"),
            "ensemble_rmse": Variable(error, "mm h-1", "root mean square error of the ensemble mean"),
            "spread_skill_ratio": Variable(ratio, "1", "spread over error, 1 at best"),
        }


def at_least(what: str, members: int, fewest: int) -> int:
    """A number of members. Raises InputError when there are fewer."""
    if members < fewest:
        raise InputError(f"{what} needs at least {fewest} members, not {members}")
    return int(members)
