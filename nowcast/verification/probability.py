"""Can probabilities of rain be believed, and do they tell rain from dry: Brier score, reliability and ROC.

Murphy 1973, doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2; with forecasts in bins as Stephenson et al. 2008,
doi:10.1175/2007WAF2006116.1; ROC area by Mason and Graham 2002, doi:10.1256/003590002320603584.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nowcast.contracts import InputError
from nowcast.verification._events import event_thresholds, reaches, threshold_axis
from nowcast.verification._pixels import Pixels
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["EventProbabilities", "event_probabilities"]

# Probabilities such as 3/10 are stored in float32 a little below or above; they belong to the bin that begins there.
TIE = 1e-6


class EventProbabilities(SumsByLeadTime):
    """Sums of forecast probabilities p and outcomes o (1 for an event, else 0), in bins of p of equal width.

    Brier score ⟨(p − o)²⟩ = reliability − resolution + uncertainty: reliability is how far the observed frequency
    in a bin is from its mean probability (0 at best); uncertainty is that of the climate ō(1 − ō); resolution is
    how far frequencies are from ō, generalised for probabilities that differ within a bin so that the sum is
    exact. brier_skill is 1 − Brier score / uncertainty. Sharpness is the variance of p.

    The ROC area is that under the straight lines between the rates of false and true alarms when warning from each
    bin on; 0.5 is no discrimination. It is exact where no bin holds different probabilities, such as those of M
    members in M + 1 bins, or in more. The diagram's variables have dimension probability, the middle of a bin.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        thresholds: mm/h, positive and rising, K of them.
        bins: of probability.
        pixels: "observed" (a missing forecast has probability 0) or "common" (only where all exist).

    Raises:
        InputError: for thresholds that cannot be, or no bin; later for probabilities that are not from 0 to 1.
    """

    def __init__(
        self,
        lead_times: Sequence[float],
        thresholds: Sequence[float] = (0.1, 1.0, 5.0),
        bins: int = 10,
        pixels: Pixels = "observed",
    ) -> None:
        super().__init__(lead_times, pixels)
        self.thresholds = event_thresholds(thresholds)
        if bins < 1:
            raise InputError(f"probabilities need one bin at least, not {bins}")
        self.bins = int(bins)
        times = len(self.lead_times)
        size = times, len(self.thresholds), self.bins
        self.sums = {name: np.zeros(size, dtype=np.int64) for name in ("n", "o")}
        self.sums |= {name: np.zeros(size) for name in ("p", "p²", "po")}
        self.sums |= {name: np.zeros(times, dtype=np.int64) for name in ("observed", "missing")}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "thresholds": self.thresholds, "bins": self.bins}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """threshold and probability."""
        middles = ((np.arange(self.bins) + 0.5) / self.bins).tolist()
        return threshold_axis(self.thresholds), Axis("probability", middles, "1", "middle of a bin of probability")

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over probabilities (B, T_out, K, C, H, W) and rates (B, T_out, C, H, W), NaN where missing."""
        judged = self.judge_stack(forecast, observed, axis=2, size=len(self.thresholds))
        if judged.forecast.numel() and not 0 <= judged.forecast.min() <= judged.forecast.max() <= 1:
            low, high = judged.forecast.min().item(), judged.forecast.max().item()
            raise InputError(f"probabilities must be from 0 to 1, not from {low:g} to {high:g}")
        self.sums["observed"] += by_lead_time(judged.known | judged.missing).numpy()
        self.sums["missing"] += by_lead_time(judged.missing).numpy()
        for k, threshold in enumerate(self.thresholds):
            for step in range(len(self.lead_times)):
                known = judged.known[:, step]
                p = judged.forecast[k, :, step][known].double()
                o = reaches(judged.observed[:, step][known], threshold).double()
                place = (p * self.bins + TIE).long().clamp_max(self.bins - 1)
                weights = {"n": None, "o": o, "p": p, "p²": p.square(), "po": p * o}
                for name, weight in weights.items():
                    sums = torch.bincount(place, weight, minlength=self.bins).cpu().numpy()
                    self.sums[name][step, k] += sums.astype(self.sums[name].dtype)

    def variables(self) -> dict[str, Variable]:
        """Scores by lead time and threshold, and the reliability diagram by probability too."""
        n, o, p = (self.sums[name] for name in ("n", "o", "p"))
        total = {name: sums.sum(axis=-1) for name, sums in self.sums.items() if sums.ndim == 3}
        frequency, mean = share(o, n), share(p, n)
        climate = share(total["o"], total["n"])
        brier = share(total["p²"] - 2 * total["po"] + total["o"], total["n"])
        reliability = share(np.nansum(n * (mean - frequency) ** 2, axis=-1), total["n"])
        uncertainty = climate * (1 - climate)
        sharpness = share(total["p²"], total["n"]) - share(total["p"], total["n"]) ** 2
        missing = share(self.sums["missing"], self.sums["observed"])
        scores = {
            "brier": (brier, "Brier score"),
            "brier_skill": (1 - share(brier, uncertainty), "Brier skill against the observed climate"),
            "reliability": (reliability, "reliability part of the Brier score"),
            "resolution": (reliability + uncertainty - brier, "resolution part of the Brier score"),
            "uncertainty": (uncertainty, "uncertainty part of the Brier score"),
            "sharpness": (sharpness, "variance of the probabilities"),
            "roc_area": (roc_area(n - o, o), "area under the ROC curve"),
        }
        diagram = {
            "mean_probability": (mean, "mean forecast probability in a bin"),
            "observed_frequency": (frequency, "observed frequency in a bin"),
            "probability_count": (n.copy(), "pixels in a bin"),
        }
        variables = {name: Variable(values, "1", label, ("threshold",)) for name, (values, label) in scores.items()}
        variables |= {name: Variable(values, "1", label) for name, (values, label) in diagram.items()}
        label = "share of observed pixels without probabilities"
        return {**variables, "probability_missing_share": Variable(missing, "1", label, ())}


def roc_area(others: np.ndarray, events: np.ndarray) -> np.ndarray:
    """The area from counts of non-events and events by rising bin of probability, (…, bin); NaN without either."""
    above = events.sum(axis=-1, keepdims=True) - events.cumsum(axis=-1)
    right = (others * (above + events / 2)).sum(axis=-1)  # pairs in the right order, and half of the ties
    return share(right, events.sum(axis=-1).astype(float) * others.sum(axis=-1))


def event_probabilities(members: torch.Tensor, thresholds: Sequence[float]) -> torch.Tensor:
    """Shares of members (B, M, T_out, C, H, W) that reach each of K thresholds: (B, T_out, K, C, H, W).

    NaN where a member is.
    """
    missing = members.isnan().any(dim=1)
    shares = [reaches(members, threshold).float().mean(dim=1) for threshold in event_thresholds(thresholds)]
    return torch.stack([torch.where(missing, torch.nan, part) for part in shares], dim=2)
