"""What scores hold between updates: named 64-bit sums by lead time, which add up over cases and processes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, get_args

import numpy as np
import torch
import xarray as xr
from einops import reduce

from nowcast.contracts import InputError
from nowcast.verification._pixels import Judged, Pixels, judge

# What a score is in a dataset: values, units, long name.
Variable = tuple[np.ndarray, str, str]


class SumsByLeadTime:
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

    def dataset(self, variables: Mapping[str, Variable], thresholds: Sequence[float] = ()) -> xr.Dataset:
        """Scores with dimension lead_time, and threshold if there are any."""
        axes = [("lead_time", self.lead_times, "min", "lead time")]
        if thresholds:
            axes.append(("threshold", tuple(thresholds), "mm h-1", "least rain rate of an event"))
        names = [name for name, *_ in axes]
        data = {
            name: xr.Variable(names, values, {"units": units, "long_name": long_name})
            for name, (values, units, long_name) in variables.items()
        }
        coordinates = {
            name: xr.Variable(name, list(values), {"units": units, "long_name": long_name})
            for name, values, units, long_name in axes
        }
        return xr.Dataset(data, coordinates, {"pixels": self.pixels})


def by_lead_time(values: torch.Tensor) -> torch.Tensor:
    """Sum (B, T_out, C, H, W) of bool or float64 over all but T_out, in 64 bits, into main memory."""
    return reduce(values, "b t c h w -> t", "sum").cpu()


def rising(what: str, values: Sequence[float]) -> tuple[float, ...]:
    """Finite numbers that rise, as a tuple. Raises InputError where they do not, or where there are none."""
    numbers = tuple(float(value) for value in values)
    if not numbers or not np.isfinite(numbers).all() or any(np.diff(numbers) <= 0):
        raise InputError(f"{what} must be numbers that rise, not {list(values)}")
    return numbers
