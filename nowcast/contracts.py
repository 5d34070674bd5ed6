"""What the parts of nowcast promise each other. Read first.

Letters in shapes: B samples, M members, T_in past frames, T_out future frames, C channels, H rows (north first),
W columns. Rain rates are in mm/h, and NaN means "not observed by radar", never zero.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, Self, TypedDict

import torch
import xarray as xr


class InputError(ValueError):
    """Something the user gave (file, option, config key) cannot be used; the message says what would be right.

    Programs print it as one line and exit with code 2. Everything else that is raised is a failure of ours.
    """


class Batch(TypedDict):
    """Samples cut from archives, as the data module yields them."""

    past: torch.Tensor  # (B, T_in, C, H, W) mm/h, NaN where not observed
    future: torch.Tensor  # (B, T_out, C, H, W) mm/h, NaN where not observed
    start: torch.Tensor  # (B,) int64, seconds since 1970-01-01 UTC of the last past frame
    archive: torch.Tensor  # (B,) int64, which archive of the split
    corner: torch.Tensor  # (B, 2) int64, row and column of the upper left pixel


class Network(Protocol):
    """A torch module between scaled fields: it knows no units and sees no NaN.

    One that forecasts a distribution gives K fields for C and has an `output` (`nowcast.models._output`) that says what
    they mean; one that trains otherwise than it forecasts, or sees more than it forecasts, says so as `nowcast.lessons`
    tells: by a `train_forward`, a `lesson`, or a `margin`.
    """

    def __call__(self, past: torch.Tensor) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W), both scaled (`nowcast.scaling`) and finite."""
        ...


class Forecaster(ABC):
    """Anything that continues a sequence of rain-rate fields: a trained network, optical flow, persistence."""

    name: str
    past_frames: int  # least T_in

    def describe(self) -> dict[str, str]:
        """Attributes that identify it in a forecast file."""
        return {}

    @abstractmethod
    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) mm/h with NaN → (B, steps, C, H, W) mm/h, NaN where it cannot say."""

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, members, steps, C, H, W) mm/h."""
        raise InputError(f"{self.name} makes one forecast, it has no ensemble of {members} members")

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W) mm/h, rates not exceeded with each of K probabilities."""
        raise InputError(f"{self.name} makes one forecast, it has no quantiles")

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W), probability that the rate reaches each of K thresholds."""
        raise InputError(f"{self.name} makes one forecast, it has no probabilities")


class Score(Protocol):
    """Sums and counts in 64 bits by lead time; division happens in `compute` alone."""

    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Take in (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        ...

    def merge(self, other: Self) -> None:
        """Add what another score of the same kind has taken in."""
        ...

    def compute(self) -> xr.Dataset:
        """The scores so far, with dimensions lead_time and, where they have them, threshold or scale."""
        ...
