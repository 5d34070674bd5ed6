"""Every score, how it is made and what it takes: one entry for each in the tests of their contract."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nowcast.verification import (
    Bins,
    Contingency,
    Continuous,
    Crps,
    EventProbabilities,
    FractionsSkill,
    Members,
    PooledContingency,
    Quantiles,
    RankHistogram,
    Spectrum,
    SpreadSkill,
    StructuralSimilarity,
    StructureAmplitudeLocation,
    standard_scores,
)

LEAD_TIMES = (5, 10, 30)
SHAPE = (12, 15)
MEMBERS, LEVELS, EDGES, THRESHOLDS = 4, (0.1, 0.5, 0.8), (0.0, 0.5, 2.0, 60.0), (0.1, 1.0, 5.0)

Pair = tuple[torch.Tensor, torch.Tensor]


def rates(seed: int, samples: int, *more: int) -> torch.Tensor:
    """Rain with NaN in 64ths of mm/h, whose 64-bit sums are exact in any order, (samples, *more, 3, 2, 12, 15)."""
    random = np.random.default_rng(seed)
    shape = (samples, *more, len(LEAD_TIMES), 2, *SHAPE)
    rate = np.round(random.gamma(0.4, 5, shape) * 64) / 64
    # Few pixels, and most on one side, so that some windows of 11 pixels are whole.
    rate[(random.random(shape) < 0.3) & (np.arange(SHAPE[1]) < 3)] = np.nan
    return torch.from_numpy(rate.astype(np.float32))


def single(seed: int = 0, samples: int = 7) -> Pair:
    """One forecast."""
    return rates(2 * seed, samples), rates(2 * seed + 1, samples)


def blobs(seed: int = 0, samples: int = 3) -> Pair:
    """One large shower a field and a corner without observations, for scores of objects."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: 2 * SHAPE[0], : 2 * SHAPE[1]]
    fields = []
    for _ in range(2):
        row, column, size = random.uniform([[8], [8], [2.5]], [[16], [20], [5]], (3, samples * len(LEAD_TIMES) * 2))
        distance = (y - row[:, None, None]) ** 2 + (x - column[:, None, None]) ** 2
        rate = 20 * np.exp(-distance / (2 * size[:, None, None] ** 2))
        rate[:, y + x < 8] = np.nan
        fields.append(torch.from_numpy(rate).reshape(samples, len(LEAD_TIMES), 2, *y.shape).float())
    return fields[0], fields[1]


def ensemble(seed: int = 0, samples: int = 5) -> Pair:
    """Members."""
    return rates(2 * seed, samples, MEMBERS), rates(2 * seed + 1, samples)


def stack(size: int, of: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Pair]:
    """Forecasts (B, T_out, size, C, H, W) made of random rates in order; all fields of a pixel missing together."""

    def fields(seed: int = 0, samples: int = 5) -> Pair:
        raw = rates(2 * seed, samples, size).movedim(1, 2)
        missing = raw.isnan().any(dim=2, keepdim=True)
        return torch.where(missing, torch.nan, of(raw.nan_to_num())), rates(2 * seed + 1, samples)

    return fields


def probabilities(raw: torch.Tensor) -> torch.Tensor:
    """That fall with the threshold."""
    return (raw / (raw + 2)).sort(dim=2, descending=True).values


@dataclass(frozen=True)
class Kind:
    """A score in the tests of the contract.

    Args:
        make: of lead times and options.
        fields: random forecasts and observations, of a seed and a number of samples.
        lead_axis: where lead time is in a forecast.
        exact: whether sums of rates in 64ths are exact, so that order cannot matter in the last digit either.
        dry: a forecast of no rain.
    """

    make: Callable[..., Any]
    fields: Callable[..., Pair] = single
    lead_axis: int = 1
    exact: bool = False
    dry: torch.Tensor | float = 0.0


KINDS = {
    "contingency": Kind(Contingency, exact=True),
    "continuous": Kind(Continuous, exact=True),
    "standard": Kind(standard_scores, exact=True),
    "pooled": Kind(lambda times, **more: PooledContingency(times, neighbourhoods=(4.0, 7.0), **more), exact=True),
    "fss": Kind(lambda times, **more: FractionsSkill(times, scales=(1.0, 4.0, 9.0), **more), exact=True),
    "spectrum": Kind(lambda times, **more: Spectrum(times, SHAPE, **more)),
    "ssim": Kind(StructuralSimilarity),
    "sal": Kind(StructureAmplitudeLocation, blobs),
    "crps of members": Kind(lambda times, **more: Crps(times, Members(), **more), ensemble, lead_axis=2),
    "crps of quantiles": Kind(
        lambda times, **more: Crps(times, Quantiles(LEVELS), **more),
        stack(len(LEVELS), lambda raw: raw.sort(dim=2).values),
    ),
    "crps of bins": Kind(
        lambda times, **more: Crps(times, Bins(EDGES), **more),
        stack(len(EDGES) - 1, lambda raw: torch.softmax(raw, dim=2)),
        dry=torch.tensor([1.0, 0, 0]).reshape(3, 1, 1, 1),
    ),
    "probabilities": Kind(
        lambda times, **more: EventProbabilities(times, THRESHOLDS, **more), stack(len(THRESHOLDS), probabilities)
    ),
    "rank histogram": Kind(lambda times, **more: RankHistogram(times, MEMBERS, **more), ensemble, 2, exact=True),
    "spread and skill": Kind(lambda times, **more: SpreadSkill(times, MEMBERS, **more), ensemble, lead_axis=2),
}
