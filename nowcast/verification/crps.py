"""How far a forecast distribution is from what came: the continuous ranked probability score.

Gneiting and Raftery 2007, doi:10.1198/016214506000001437; fair for ensembles as Ferro 2014, doi:10.1002/qj.2270.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from nowcast.contracts import InputError
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import SumsByLeadTime, Variable, rising, share

__all__ = ["Bins", "Crps", "Members", "Quantiles"]

COUNTS = ("judged", "observed", "missing")  # pixels


class Distribution(Protocol):
    """What the fields of a forecast say of a distribution; equal ones may be merged."""

    axis: ClassVar[int]  # where the fields are in a forecast
    whole: ClassVar[bool]  # whether one missing field leaves nothing of the others

    @property
    def size(self) -> int | None:
        """How many fields there are; any number if None."""
        ...

    def crps(self, fields: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """CRPS in mm/h of (K, …) fields, all 0 where missing, against (…) mm/h."""
        ...


@dataclass(frozen=True)
class Members:
    """M equally likely rates, forecasts (B, M, T_out, C, H, W) in mm/h; fair, so that ensembles of any M compare.

    ⟨|xᵢ − y|⟩ − ⟨|xᵢ − xⱼ|⟩ / 2, the second mean over pairs i ≠ j (dividing by M (M − 1), not M²).
    """

    axis: ClassVar[int] = 1
    whole: ClassVar[bool] = False
    size: ClassVar[None] = None

    def crps(self, fields: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Raises InputError for one member."""
        members = len(fields)
        if members < 2:
            raise InputError("fair CRPS needs two members at least; of one forecast take the mean absolute error")
        # In order, member i is subtracted from those above and added to those below.
        weights = torch.arange(1 - members, members, 2, dtype=torch.float64, device=fields.device)
        differences = torch.tensordot(weights, fields.sort(dim=0).values, dims=1)  # over pairs i < j
        return (fields - observed).abs().mean(dim=0) - differences / (members * (members - 1))


@dataclass(frozen=True)
class Quantiles:
    """Rates at given levels of probability, forecasts (B, T_out, K, C, H, W) in mm/h.

    CRPS is twice the quantile loss integrated over all levels; here each level stands for those nearer to it
    than to another. The quantiles at (k − ½) / K are K equally likely members, not fair.

    Args:
        levels: between 0 and 1, rising.

    Raises:
        InputError: for levels that are not.
    """

    levels: tuple[float, ...]
    axis: ClassVar[int] = 2
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        levels = rising("levels of quantiles", self.levels)
        if not 0 < levels[0] <= levels[-1] < 1:
            raise InputError(f"levels of quantiles must be between 0 and 1, not {list(self.levels)}")

    @property
    def size(self) -> int:
        """How many levels there are."""
        return len(self.levels)

    def crps(self, fields: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """The sum of weighted quantile losses."""
        levels = np.asarray(self.levels)
        borders = np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [1]])
        score = torch.zeros_like(observed)
        for level, weight, rate in zip(levels, np.diff(borders), fields, strict=True):
            excess = observed - rate
            score += 2 * weight * torch.maximum(level * excess, (level - 1) * excess)
        return score


@dataclass(frozen=True)
class Bins:
    """Probabilities of K ranges of rates, forecasts (B, T_out, K, C, H, W).

    Probability is spread evenly over a range, and CRPS = ∫ (F(x) − [x ≥ y])² dx is integrated exactly.

    Args:
        edges: the K + 1 borders of ranges in mm/h, rising; the highest range needs an end.

    Raises:
        InputError: for edges that do not rise; later for probabilities that are negative or do not add up to 1.
    """

    edges: tuple[float, ...]
    axis: ClassVar[int] = 2
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(rising("edges of bins in mm/h", self.edges)) < 2:
            raise InputError(f"bins need two edges at least, not {list(self.edges)}")

    @property
    def size(self) -> int:
        """How many ranges there are."""
        return len(self.edges) - 1

    def crps(self, fields: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Raises InputError for fields that are no probabilities."""
        total = fields.sum(dim=0)
        missing = total == 0
        if (fields < 0).any() or ((total - 1).abs() > 1e-3).logical_and(~missing).any():
            raise InputError("probabilities of bins must not be negative and add up to 1; take the softmax of logits")
        below = torch.zeros_like(observed)  # F at the lower edge
        score = (self.edges[0] - observed).clamp_min(0) + (observed - self.edges[-1]).clamp_min(0)
        for low, high, probability in zip(self.edges[:-1], self.edges[1:], fields, strict=True):
            # Missing is dry: all in the lowest range.
            above = torch.where(missing, 1, below + probability / torch.where(missing, 1, total))
            part = ((observed - low) / (high - low)).clamp(0, 1)  # of the range is below the observed rate
            at = below + (above - below) * part
            before = part * squares(below, at)
            after = (1 - part) * squares(1 - at, 1 - above)
            score += (high - low) * (before + after)
            below = above
        return score


def squares(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The mean square of what goes from a to b in a straight line."""
    return (a * a + a * b + b * b) / 3


class Crps(SumsByLeadTime):
    """Mean CRPS in mm/h over all judged pixels: the mean absolute error of a distribution, 0 at best.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        of: what forecasts hold: Members(), Quantiles(levels) or Bins(edges).
        pixels: "observed" (a missing forecast counts as dry; members each by themselves) or "common" (only
            where all exist).
    """

    def __init__(self, lead_times: Sequence[float], of: Distribution, pixels: Pixels = "observed") -> None:
        super().__init__(lead_times, pixels)
        self.of = of
        size = len(self.lead_times)
        self.sums = {"crps": np.zeros(size)} | {name: np.zeros(size, dtype=np.int64) for name in COUNTS}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "distribution": self.of}

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over forecasts with one more axis (see `of`) and observations (B, T_out, C, H, W), NaN where missing."""
        if self.of.whole and forecast.ndim == 6:
            forecast = torch.where(forecast.isnan().any(dim=self.of.axis, keepdim=True), torch.nan, forecast)
        judged = self.judge_stack(forecast, observed, self.of.axis, self.of.size)
        counted = (judged.known, judged.known | judged.missing, judged.missing)
        for step in range(len(self.lead_times)):  # one by one, for the memory that 64 bits take
            score = self.of.crps(judged.forecast[:, :, step].double(), judged.observed[:, step].double())
            self.sums["crps"][step] += torch.where(judged.known[:, step], score, 0).sum().item()
            for name, pixels in zip(COUNTS, counted, strict=True):
                self.sums[name][step] += pixels[:, step].sum().item()

    def variables(self) -> dict[str, Variable]:
        """crps, and crps_missing_share."""
        missing = share(self.sums["missing"], self.sums["observed"])
        return {
            "crps": Variable(
                share(self.sums["crps"], self.sums["judged"]), "mm h-1", "continuous ranked probability score"
            ),
            "crps_missing_share": Variable(missing, "1", "share of observed pixels without a whole distribution"),
        }
