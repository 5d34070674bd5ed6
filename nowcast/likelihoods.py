"""Losses of probabilistic forecasts: K fields that say a distribution, and one observed field.

Each is a `nowcast.losses.Loss` over known pixels; its forecasts have K quantiles, bins or members where the observation
has one channel. All are proper, or as near to it as their paper wants them.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.losses import Loss
from nowcast.scaling import scale

# Rain rates in mm/h between neighbouring bins, near to even steps of reflectivity; the first bin is dry.
EDGES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


def quantile_levels(levels: int | Sequence[float]) -> tuple[float, ...]:
    """Levels from a number of them, evenly spaced (9 is 0.1, 0.2, … 0.9), or the rising levels themselves.

    Raises:
        InputError: for levels that do not rise inside of 0 and 1.
    """
    if isinstance(levels, int):
        if levels < 1:
            raise InputError(f"a distribution needs at least 1 quantile, not {levels}")
        return tuple((number + 1) / (levels + 1) for number in range(levels))
    given = tuple(float(level) for level in levels)
    if not given or list(given) != sorted(set(given)) or not 0 < given[0] <= given[-1] < 1:
        raise InputError(f"quantile levels must rise between 0 and 1, such as [0.1, 0.5, 0.9], not {list(given)}")
    return given


def rate_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Rising positive rates in mm/h between neighbouring bins.

    Raises:
        InputError: for edges that do not rise from above what counts as dry.
    """
    given = tuple(float(edge) for edge in edges)
    if not given or list(given) != sorted(set(given)) or scale(torch.tensor(given[0]))[0] <= 0:
        raise InputError(f"bins need edges that rise from at least 0.04 mm/h, such as [0.1, 1, 10], not {list(given)}")
    return given


class Pinball(Loss):
    """Pinball loss of K quantiles, mean over them; the best forecast of each level τ is the quantile of τ.

    max(τ (y − q), (τ − 1) (y − q)), Koenker and Bassett 1978, doi 10.2307/1913643. Twice the mean over many even levels
    is the CRPS.

    Args:
        levels: of the quantiles, as the network has them: a number of even ones, or a list.
    """

    _levels: torch.Tensor

    def __init__(self, levels: int | Sequence[float] = 9) -> None:
        super().__init__()
        self.register_buffer("_levels", torch.tensor(quantile_levels(levels))[:, None, None], persistent=False)

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _agree("Pinball", predicted, len(self._levels), "levels")
        above = target - predicted
        return (above.abs() + (2 * self._levels - 1) * above).mean(dim=2, keepdim=True) / 2


class _OfBins(Loss):
    """Likelihood of the bin that was observed, given K logits.

    Args:
        edges: mm/h between the K bins, as the network has them.
    """

    _edges: torch.Tensor

    def __init__(self, edges: Sequence[float] = EDGES) -> None:
        super().__init__()
        self.register_buffer("_edges", scale(torch.tensor(rate_edges(edges)))[0], persistent=False)

    def observed(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, H, W) int64: the bin of the target; an edge belongs to the bin above it."""
        _agree(type(self).__name__, predicted, len(self._edges) + 1, "bins")
        return torch.bucketize(target, self._edges, right=True)


class Categorical(_OfBins):
    """Negative log likelihood of the observed bin: cross-entropy, which does not know that bins have an order."""

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        observed = self.observed(predicted, target)
        return -F.log_softmax(predicted, dim=2).gather(2, observed)


class Ordinal(_OfBins):
    """Negative log likelihood of "the rate reaches this edge", yes or no, summed over all edges.

    The logits are those of Categorical, P(bin ≥ k) is the sum of their probabilities. Proper as Categorical is (a sum
    of logarithmic scores of yes and no), but a forecast near to the observed bin costs less than one far off: the
    ranked probability score with the logarithm in place of the square.
    """

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        reached = self.observed(predicted, target) > torch.arange(len(self._edges), device=target.device)[:, None, None]
        logs = F.log_softmax(predicted, dim=2)
        below = logs.logcumsumexp(dim=2)[:, :, :-1]
        above = logs.flip(2).logcumsumexp(dim=2).flip(2)[:, :, 1:]
        return -torch.where(reached, above, below).sum(dim=2, keepdim=True)


class AlmostFairCRPS(Loss):
    """Continuous ranked probability score of M members, corrected for there being only M.

    mean |x − y| − (1 − (1 − α)/M) / (2 M (M − 1)) Σ |x_j − x_k|, that is α of the fair score, which is best when
    members are draws of the right distribution, and 1 − α of the plain one, which lets no member drift off freely.
    Lang et al. 2024, AIFS-CRPS, arXiv 2412.15832; the fair score is Ferro 2014, doi 10.1002/qj.2270.

    Args:
        alpha: share of the fair score, from 0 to 1; 1 is fair.
    """

    def __init__(self, alpha: float = 0.95) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha of the almost fair CRPS is a share, from 0 to 1, not {alpha}")
        self.alpha = alpha

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        members = predicted.shape[2]
        if members < 2:
            raise InputError("the almost fair CRPS needs at least 2 members; give Members more of them")
        # Every ordered pair once; unlike sorting, ties get no gradient to part them.
        spread = sum((predicted - predicted.roll(shift, dims=2)).abs() for shift in range(1, members))
        weight = (1 - (1 - self.alpha) / members) / (2 * (members - 1))
        return ((predicted - target).abs() - weight * spread).mean(dim=2, keepdim=True)


def _agree(loss: str, predicted: torch.Tensor, expected: int, things: str) -> None:
    if predicted.shape[2] != expected:
        raise InputError(
            f"{loss} has {expected} {things}, the network forecasts {predicted.shape[2]} fields at each lead time; "
            f"give both the same"
        )
