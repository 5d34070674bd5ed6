"""What the output axis of a probabilistic network means, and what can be derived from it.

A network with K fields at each lead time, (B, T, K, H, W), says so by one of these as its attribute `output`. Derived
fields are scaled (`nowcast.scaling`), so 0 is dry; probabilities are in 0 to 1. A distribution of rain has a lump of
probability at dry: all of it that stands at 0 or less.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from nowcast.contracts import InputError
from nowcast.likelihoods import EDGES, quantile_levels, rate_edges
from nowcast.scaling import DBZ_PER_UNIT, HIGHEST_RATE, ZR_B, scale, unscale

# A rate is proportional to exp(RATE_GROWTH · scaled).
RATE_GROWTH = DBZ_PER_UNIT / 10 * math.log(10) / ZR_B
DRIZZLE = 1e-6  # scaled; between dry and any rain
HEAVIEST = 2.0  # scaled, 60 dBZ, 205 mm/h; where tails end that nothing was said of
TAIL = 6  # how often the tail above the last quantile halves its probability


class Output(ABC):
    """A distribution at each pixel and lead time; fields are (B, T, K, H, W)."""

    drawn = False  # whether fields are draws, of which the network makes as many as asked: forward(past, count)

    @abstractmethod
    def quantile(self, fields: torch.Tensor, q: float) -> torch.Tensor:
        """(B, T, 1, H, W): scaled, the least value whose probability of not being exceeded reaches q, 0 < q < 1."""

    @abstractmethod
    def mean(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, H, W): the mean rain rate in mm/h, scaled; the forecast of least squared error in mm/h."""

    @abstractmethod
    def scaled_mean(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, H, W): the mean of scaled values; heavy tails do not rule it, so it ranks pixels well."""

    @abstractmethod
    def exceedance(self, fields: torch.Tensor, thresholds_mm_h: Sequence[float]) -> torch.Tensor:
        """(B, T, thresholds, H, W): probability that the rate reaches each threshold in mm/h."""

    def median(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, H, W): scaled; the forecast of least absolute error, in any units."""
        return self.quantile(fields, 0.5)

    def members(self, fields: torch.Tensor, count: int) -> torch.Tensor:
        """(B, T, count, H, W): scaled fields, equally likely.

        Where only pixels have a distribution, member m is the quantile of (m − ½) / count everywhere: right at each
        pixel and as smooth as the forecast, but either wet everywhere or dry everywhere.
        """
        _positive(count)
        return torch.cat([self.quantile(fields, (member + 0.5) / count) for member in range(count)], dim=2)


def output_of(network: nn.Module) -> Output | None:
    """What the fields of a network mean, or None where they are the forecast itself."""
    output = getattr(network, "output", None)
    return output if isinstance(output, Output) else None


class _PiecewiseLinear(Output):
    """A distribution whose quantile function is linear between nodes, with steps where nodes share a value or level."""

    @abstractmethod
    def nodes(self, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (scaled, below 0 is dry too) and levels, from 0 to 1, neither falling along dim 2."""

    def quantile(self, fields: torch.Tensor, q: float) -> torch.Tensor:
        values, levels = self.nodes(fields.float())
        return _interpolate(_level(q), levels, values).clamp_min(0)

    def exceedance(self, fields: torch.Tensor, thresholds_mm_h: Sequence[float]) -> torch.Tensor:
        values, levels = self.nodes(fields.float())
        reached = [1 - _interpolate(_scaled(threshold), values, levels) for threshold in thresholds_mm_h]
        return torch.cat(reached, dim=2).clamp(0, 1)

    def mean(self, fields: torch.Tensor) -> torch.Tensor:
        """Exact: between nodes scaled values are spread evenly, so rates are an integral of exp."""
        low, high, weight = self._wet_parts(fields)
        half = RATE_GROWTH * (high - low) / 2
        stretch = torch.where(half > 1e-3, torch.sinh(half) / half.clamp_min(1e-3), 1.0)
        rates = unscale((low + high) / 2) * stretch
        return scale((weight * rates).sum(dim=2, keepdim=True))[0]

    def scaled_mean(self, fields: torch.Tensor) -> torch.Tensor:
        low, high, weight = self._wet_parts(fields)
        return (weight * (low + high) / 2).sum(dim=2, keepdim=True)

    def _wet_parts(self, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Between neighbouring nodes: the least and the most rain, and the probability of rain there."""
        values, levels = self.nodes(fields.float())
        width = values.diff(dim=2)
        wet = values.clamp_min(0)
        low, high = wet[:, :, :-1], wet[:, :, 1:]
        share = torch.where(width > 0, (high - low) / width.clamp_min(1e-12), (high > 0).float())
        return low, high, levels.diff(dim=2) * share


class QuantileOutput(_PiecewiseLinear):
    """K rising quantiles of the scaled field.

    Between them the quantile function is linear. Below the first it falls to dry, above the last it follows the
    exponential tail (of the scaled value, so a power of the rate) through the last two, to at most 60 dBZ; where the
    last is dry, so is the tail.

    Args:
        levels: of the quantiles: a number of even ones, or a list.
    """

    def __init__(self, levels: int | Sequence[float] = 9) -> None:
        self.levels = quantile_levels(levels)

    def nodes(self, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _lengths("quantiles", fields, len(self.levels))
        fields = fields.clamp_max(_scaled(HIGHEST_RATE))
        last, rest = fields[:, :, -1:], 1 - self.levels[-1]
        halving = torch.zeros_like(last)
        if len(self.levels) > 1:
            rain = fields[:, :, -2:].clamp_min(0)  # how far below dry a quantile lies says nothing of the tail
            halving = rain.diff(dim=2) * math.log(2) / math.log((1 - self.levels[-2]) / rest)
        heaviest = last.clamp_min(HEAVIEST)
        tail = [torch.minimum(last + halvings * halving, heaviest) for halvings in range(1, TAIL + 1)]
        values = torch.cat([fields[:, :, :1].clamp_max(0), fields, *tail, tail[-1]], dim=2)
        levels = [0.0, *self.levels, *(1 - rest / 2**halvings for halvings in range(1, TAIL + 1)), 1.0]
        return values, _column(levels, fields)


class BinOutput(_PiecewiseLinear):
    """K logits of rain-rate bins: dry below the first edge, then from edge to edge, the last one open.

    All the probability of the first bin stands at dry; within the others the scaled value is spread evenly, in the
    last as far as twice its edge.

    Args:
        edges: mm/h, rising, K − 1 of them.
    """

    def __init__(self, edges: Sequence[float] = EDGES) -> None:
        self.edges = rate_edges(edges)

    def nodes(self, fields: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _lengths("bins", fields, len(self.edges) + 1)
        below = fields.softmax(dim=2).cumsum(dim=2)[:, :, :-1].clamp_max(1)
        zero, one = torch.zeros_like(below[:, :, :1]), torch.ones_like(below[:, :, :1])
        levels = torch.cat([zero, below[:, :, :1], below, one], dim=2)
        values = [0.0, 0.0, *(_scaled(edge) for edge in (*self.edges, 2 * self.edges[-1]))]
        return _column(values, fields), levels


class MemberOutput(Output):
    """M fields that are equally likely, as a whole and at each pixel."""

    drawn = True

    def quantile(self, fields: torch.Tensor, q: float) -> torch.Tensor:
        """Linear between sorted members, the i-th at level (i − ½) / M; constant beyond the outer ones."""
        members = fields.float().sort(dim=2).values
        count = members.shape[2]
        levels = _column([(member + 0.5) / count for member in range(count)], members)
        return _interpolate(_level(q), levels, members).clamp_min(0)

    def exceedance(self, fields: torch.Tensor, thresholds_mm_h: Sequence[float]) -> torch.Tensor:
        """The share of members that reach the threshold."""
        reached = [fields.float() >= _scaled(threshold) for threshold in thresholds_mm_h]
        return torch.cat([share.float().mean(dim=2, keepdim=True) for share in reached], dim=2)

    def mean(self, fields: torch.Tensor) -> torch.Tensor:
        return scale(unscale(fields).mean(dim=2, keepdim=True))[0]

    def scaled_mean(self, fields: torch.Tensor) -> torch.Tensor:
        return fields.float().clamp_min(0).mean(dim=2, keepdim=True)

    def members(self, fields: torch.Tensor, count: int) -> torch.Tensor:
        """The first `count` of them.

        Raises:
            InputError: when there are fewer.
        """
        _positive(count)
        if count > fields.shape[2]:
            raise InputError(f"the forecast holds {fields.shape[2]} members, not {count}; let the network draw more")
        return fields.float()[:, :, :count].clamp_min(0)


def _interpolate(at: float, nodes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values at a place among rising nodes along dim 2: linear between, constant outside, the lower one at a step.

    Written as a sum of ramps, which needs no search and can be nothing but monotone.
    """
    steps, widths = values.diff(dim=2), nodes.diff(dim=2)
    ahead = at - nodes[:, :, :-1]
    ramp = torch.where(widths > 0, (ahead / widths.clamp_min(1e-12)).clamp(0, 1), (ahead > 0).to(widths.dtype))
    return values[:, :, :1] + (ramp * steps).sum(dim=2, keepdim=True)


def _column(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Numbers along dim 2 of five, on the device of another tensor."""
    return torch.tensor(numbers, dtype=torch.float32, device=like.device)[None, None, :, None, None]


def _scaled(threshold_mm_h: float) -> float:
    """A rate as networks see it; a positive one that counts as dry is the least rain, none is below all values."""
    if threshold_mm_h <= 0:
        return -math.inf
    return max(float(scale(torch.tensor(float(threshold_mm_h)))[0]), DRIZZLE)


def _level(q: float) -> float:
    if not 0 < q < 1:
        raise InputError(f"a quantile has a level between 0 and 1, such as 0.5 of the median, not {q}")
    return q


def _positive(count: int) -> None:
    if count < 1:
        raise InputError(f"an ensemble has at least 1 member, not {count}")


def _lengths(things: str, fields: torch.Tensor, expected: int) -> None:
    if fields.dim() != 5 or fields.shape[2] != expected:
        raise InputError(f"a forecast of {expected} {things} is (B, T, {expected}, H, W), not {tuple(fields.shape)}")
