"""What scores hold between updates: named 64-bit sums by lead time, which add up over cases and processes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, get_args

import numpy as np
import torch
import xarray as xr
from einops import reduce

from nowcast.contracts import InputError
from nowcast.verification._pixels import Judged, Pixels, judge


class Axis(NamedTuple):
    """A dimension of scores beside lead time."""

    name: str
    values: Sequence[float]
    units: str
    long_name: str


class Variable(NamedTuple):
    """What a score is in a dataset; its dimensions are lead_time and, unless `along` names fewer, all axes."""

    values: np.ndarray
    units: str
    long_name: str
    along: tuple[str, ...] | None = None


class HasSums(Protocol):
    """Something whose whole state is named arrays that add up, so that processes can be merged."""

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """The arrays themselves, not copies; writing into them changes the state."""
        ...


class Summed(HasSums, Protocol):
    """A score that is sums, so that it can be resampled."""

    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Take in a batch."""
        ...

    def merge(self, other: Any) -> None:
        """Add what another score of the same kind has taken in."""
        ...

    def variables(self) -> dict[str, Variable]:
        """The scores so far, without coordinates."""
        ...

    def compute(self) -> xr.Dataset:
        """The scores so far."""
        ...


class SumsByLeadTime(ABC):
    """Named arrays of int64 counts and float64 sums, lead time first, kept in main memory.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for lead times that do not rise, or another rule of pixels.
    """

    def __init__(self, lead_times: Sequence[float], pixels: Pixels = "observed") -> None:
        self.lead_times = rising("lead times in minutes", lead_times)
        if pixels not in get_args(Pixels):
            raise InputError(f"pixels {pixels!r} is none of {', '.join(get_args(Pixels))}")
        self.pixels: Pixels = pixels
        self.sums: dict[str, np.ndarray] = {}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {"kind": type(self).__name__, "lead times": self.lead_times, "pixels": self.pixels}

    def merge(self, other: Self) -> None:
        """Add the sums of another score of the same kind.

        Raises:
            InputError: naming what differs between them.
        """
        theirs = other.protocol
        for name, value in self.protocol.items():
            if theirs[name] != value:
                raise InputError(f"scores differ in {name}, {value} and {theirs[name]}, and cannot be merged")
        self.add(other.sums)

    def add(self, sums: Mapping[str, Any]) -> None:
        """Add arrays (or tensors in main memory) under their names."""
        for name in self.sums:
            self.sums[name] += np.asarray(sums[name])

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Dimensions of the scores beside lead time."""
        return ()

    @abstractmethod
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Take in a batch."""

    @abstractmethod
    def variables(self) -> dict[str, Variable]:
        """The scores so far, from the sums alone."""

    def compute(self) -> xr.Dataset:
        """The scores so far, by lead_time and the score's own dimensions."""
        axes = (Axis("lead_time", self.lead_times, "min", "lead time"), *self.axes)
        data = {}
        for name, (values, units, long_name, along) in self.variables().items():
            own = [axis.name for axis in self.axes] if along is None else along
            data[name] = xr.Variable(["lead_time", *own], values, {"units": units, "long_name": long_name})
        coordinates = {
            axis.name: xr.Variable(axis.name, list(axis.values), {"units": axis.units, "long_name": axis.long_name})
            for axis in axes
        }
        return xr.Dataset(data, coordinates, {"pixels": self.pixels})

    def judge(self, forecast: torch.Tensor, observed: torch.Tensor) -> Judged:
        """The pixels that count by this score's rule.

        Raises:
            InputError: for shapes that are not (B, T_out, C, H, W) with one T_out for each lead time.
        """
        shapes, steps = (tuple(forecast.shape), tuple(observed.shape)), len(self.lead_times)
        if shapes[0] != shapes[1] or len(shapes[0]) != 5 or shapes[0][1] != steps:
            raise InputError(
                f"scores of {steps} lead times take a forecast and observations of the same shape "
                f"(B, {steps}, C, H, W), not {shapes[0]} and {shapes[1]}"
            )
        return judge(forecast, observed, self.pixels)

    def judge_stack(self, forecast: torch.Tensor, observed: torch.Tensor, axis: int, size: int | None) -> Judged:
        """The pixels that count where a forecast holds several fields (members, probabilities) along an axis.

        Args:
            forecast: (B, T_out, C, H, W) with the fields as one more axis.
            observed: (B, T_out, C, H, W).
            axis: where the fields are: 1 for members, (B, M, T_out, …); 2 for others, (B, T_out, K, …).
            size: how many fields; any number if None.

        Returns:
            `forecast` with the fields first; a pixel's forecast is missing where one of its fields is.

        Raises:
            InputError: for other shapes.
        """
        steps, shape = len(self.lead_times), list(observed.shape)
        wanted: list[Any] = ["B", steps, "C", "H", "W"]
        wanted.insert(axis, size or "any number")
        if forecast.ndim == 6:
            shape.insert(axis, size or forecast.shape[axis])
        if observed.ndim != 5 or observed.shape[1] != steps or list(forecast.shape) != shape:
            raise InputError(
                f"scores of {steps} lead times take forecasts ({', '.join(map(str, wanted))}) beside observations "
                f"(B, {steps}, C, H, W), not {tuple(forecast.shape)} beside {tuple(observed.shape)}"
            )
        return judge(forecast.movedim(axis, 0), observed, self.pixels)


def by_lead_time(values: torch.Tensor) -> torch.Tensor:
    """Sum (B, T_out, C, H, W) of bool or float64 over all but T_out, in 64 bits, into main memory."""
    return reduce(values, "b t c h w -> t", "sum").cpu()


def rising(what: str, values: Sequence[float]) -> tuple[float, ...]:
    """Finite numbers that rise, as a tuple. Raises InputError where they do not, or where there are none."""
    numbers = tuple(float(value) for value in values)
    if not numbers or not np.isfinite(numbers).all() or any(np.diff(numbers) <= 0):
        raise InputError(f"{what} must be numbers that rise, not {list(values)}")
    return numbers


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; 0/0 is NaN, silently: where nothing happened there is nothing to score."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part / whole)
