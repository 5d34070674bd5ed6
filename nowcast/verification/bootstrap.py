"""How sure a score is: intervals by resampling blocks of cases, of one model and of the difference between two.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3 (percentile intervals); blocks because
cases of one event resemble each other, Wilks 1997, doi:10.1175/1520-0442(1997)010<0065:RHTFAF>2.0.CO;2.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification._sums import Summed
from nowcast.verification.processes import all_reduce

__all__ = ["Blocks", "difference", "interval"]

Label = str | int
AnyScore = TypeVar("AnyScore", bound=Summed)


class Blocks(Generic[AnyScore]):
    """A score for every block of cases, such as an event or a day: as much as resampling has to know.

        >>> blocks = Blocks(lambda: standard_scores(lead_times=[5, 10, 15]))
        >>> blocks.update(forecast, observed, labels=["2016-07-11", "2016-07-11", "2016-07-12"])
        >>> interval(blocks).csi.sel(bound="lower")

    Blocks should be independent of each other, and a dozen at least: with few, intervals are too narrow.

    Args:
        make: makes an empty score.
    """

    def __init__(self, make: Callable[[], AnyScore]) -> None:
        self.make = make
        self.scores: dict[Label, AnyScore] = {}
        self.cases: dict[Label, np.ndarray] = {}

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """The sums of all blocks' scores, under block and name."""
        return {
            f"{label!r} {name}": array for label, score in self.scores.items() for name, array in score.sums.items()
        }

    def update(self, forecast: torch.Tensor, observed: torch.Tensor, labels: Sequence[Label]) -> None:
        """Take in a batch as the score does, with the block of each sample.

        Raises:
            InputError: when there are not as many labels as samples.
        """
        if len(labels) != len(observed):
            raise InputError(f"{len(observed)} samples need as many labels of blocks, not {len(labels)}")
        for label in dict.fromkeys(labels):
            own = [place for place, other in enumerate(labels) if other == label]
            self.block(label).update(forecast[own], observed[own])
            self.cases[label] += len(own)

    def merge(self, other: Self) -> None:
        """Add what other blocks of the same kind of score have taken in."""
        for label, score in other.scores.items():
            self.block(label).merge(score)
            self.cases[label] += other.cases[label]

    def all_reduce(self) -> None:
        """Give each process the blocks of all processes; every process must call it, and once."""
        if dist.is_available() and dist.is_initialized():
            everywhere: list[list[Label]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(everywhere, list(self.scores))
            for label in {label for labels in everywhere for label in labels}:
                self.block(label)
            all_reduce(self)

    def total(self) -> AnyScore:
        """The score of all blocks together."""
        score = self.make()
        for label in self.labels:
            score.merge(self.scores[label])
        return score

    @property
    def labels(self) -> list[Label]:
        """Of the blocks, in an order that does not depend on that of the cases."""
        return sorted(self.scores, key=lambda label: (isinstance(label, str), label))

    def block(self, label: Label) -> AnyScore:
        """The score of one block, empty at first."""
        if label not in self.scores:
            self.scores[label] = self.make()
            self.cases[label] = np.zeros((), dtype=np.int64)
        return self.scores[label]


def interval(blocks: Blocks, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> xr.Dataset:
    """Scores with intervals: each variable gains the dimension bound (lower, score, upper).

    Args:
        blocks: what is resampled, with replacement.
        level: the probability an interval is meant to hold.
        resamples: how often.
        seed: of the resampling.

    Raises:
        InputError: for fewer than two blocks, or a level or a number of resamples that cannot be.
    """
    counts = draw(len(blocks.labels), level, resamples, seed)
    return bounds(blocks.total().compute(), list(resampled(blocks, counts)), level)


def difference(first: Blocks, second: Blocks, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> xr.Dataset:
    """Scores of the first minus those of the second model, resampled together, with intervals as in `interval`.

    Variables are named as the scores, and NAME_excludes_zero (bool) says where the interval of a difference
    does. Both must have been scored on the same blocks of the same cases.

    Raises:
        InputError: for blocks that differ, and as `interval`.
    """
    apart = [label for label in {**first.cases, **second.cases} if first.cases.get(label) != second.cases.get(label)]
    if apart:
        names = ", ".join(map(str, apart))
        raise InputError(f"models are compared on the same cases, but have not the same number of them in {names}")
    counts = draw(len(first.labels), level, resamples, seed)
    pairs = zip(resampled(first, counts), resampled(second, counts), strict=True)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, as it should be
        differences = [{name: mine[name] - theirs[name] for name in mine} for mine, theirs in pairs]
        estimate = minus(first.total().compute(), second.total().compute())
    scores = bounds(estimate, differences, level)
    for name, score in list(scores.data_vars.items()):
        sure = (score.sel(bound="lower", drop=True) > 0) | (score.sel(bound="upper", drop=True) < 0)
        label = f"whether the interval of {score.attrs['long_name']} excludes 0"
        scores[f"{name}_excludes_zero"] = sure.assign_attrs(units="1", long_name=label)
    return scores


def minus(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    """The difference of two datasets with the attributes of the first."""
    with xr.set_options(keep_attrs=True, arithmetic_join="exact"):
        return first - second


def draw(blocks: int, level: float, resamples: int, seed: int) -> np.ndarray:
    """How often each block is in each resample, (resample, block)."""
    if blocks < 2:
        raise InputError(
            f"intervals need two blocks of cases at least, not {blocks}; take more events or shorter blocks"
        )
    if not 0 < level < 1:
        raise InputError(f"the level of an interval must be between 0 and 1, not {level}")
    if resamples < 1:
        raise InputError(f"the bootstrap needs one resample at least, not {resamples}")
    return np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)


def resampled(blocks: Blocks, counts: np.ndarray) -> Iterator[Mapping[str, np.ndarray]]:
    """The values of the scores of each resample."""
    parts = [blocks.scores[label].sums for label in blocks.labels]
    sums = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    score = copy.deepcopy(blocks.total())
    for count in counts:
        for name, array in score.sums.items():
            array[...] = np.tensordot(count.astype(array.dtype), sums[name], axes=1)
        yield {name: variable.values for name, variable in score.variables().items()}


def bounds(scores: xr.Dataset, samples: Sequence[Mapping[str, np.ndarray]], level: float) -> xr.Dataset:
    """Scores with the percentiles of their samples; a sample without a score (0/0) is left out."""
    tails = (1 - level) / 2, (1 + level) / 2
    data = {}
    for name, score in scores.data_vars.items():
        values = np.stack([np.asarray(sample[str(name)], dtype=float) for sample in samples])
        lower, upper = percentiles(values, tails)
        data[name] = (("bound", *score.dims), np.stack([lower, score.values, upper]), score.attrs)
    names = ("bound", ["lower", "score", "upper"], {"units": "1", "long_name": "interval and score"})
    return xr.Dataset(data, {**scores.coords, "bound": names}, {**scores.attrs, "interval_level": level})


def percentiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Percentiles along the first axis, leaving out NaN, without interpolation, so that ∞ may be among them."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.sum(~np.isnan(values), axis=0)
    found = []
    for wanted in shares:
        place = np.clip(np.ceil(wanted * count).astype(int) - 1, 0, None)
        found.append(np.take_along_axis(ordered, place[None], axis=0)[0])
    return np.stack(found)
