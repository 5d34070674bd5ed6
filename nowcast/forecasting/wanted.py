"""What is written of a forecast: the rain rate, and beside it members, quantiles, probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.data import forecast_layout as layouts


@dataclass(frozen=True)
class Wanted:
    """What is written of each forecast beside the rain rate.

    Args:
        members: of an ensemble; 0 writes none.
        quantiles: levels between 0 and 1.
        probabilities: thresholds in mm/h to be reached.

    Raises:
        InputError: for numbers that are no such things, or do not rise.
    """

    members: int = 0
    quantiles: Sequence[float] = ()
    probabilities: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.members < 0:
            raise InputError(f"an ensemble has at least 1 member, not {self.members}")
        if not all(0 < level < 1 for level in self.quantiles):
            raise InputError(f"quantiles are levels between 0 and 1, such as 0.1 0.5 0.9, not {list(self.quantiles)}")
        if not all(threshold > 0 for threshold in self.probabilities):
            raise InputError(f"thresholds are rates above 0 mm/h, not {list(self.probabilities)}")
        for numbers in (self.quantiles, self.probabilities):
            if any(one >= following for one, following in pairwise(numbers)):
                raise InputError(f"quantiles and thresholds are named rising and once, not {list(numbers)}")

    def fields(self) -> list[layouts.Field]:
        """The variables, the rain rate first."""
        return [
            layouts.RATE,
            *([layouts.members(self.members)] if self.members else []),
            *([layouts.quantiles(self.quantiles)] if self.quantiles else []),
            *([layouts.probabilities(self.probabilities)] if self.probabilities else []),
        ]


def forecast_fields(forecaster: Forecaster, past: torch.Tensor, steps: int, wanted: Wanted) -> dict[str, np.ndarray]:
    """What is wanted of a forecast, by name of the variable: (B, steps, …, H, W).

    Args:
        forecaster: makes it; the same past must make the same forecast.
        past: (B, T_in, 1, H, W) mm/h with NaN.
        steps: lead times.
        wanted: what beside the rain rate.
    """
    made = {layouts.RATE.name: forecaster.forecast(past, steps)}
    if wanted.members:
        ensemble = forecaster.ensemble(past, steps, wanted.members)
        made[layouts.members(wanted.members).name] = ensemble.transpose(1, 2)
    if wanted.quantiles:
        made[layouts.quantiles(wanted.quantiles).name] = forecaster.quantile(past, steps, wanted.quantiles)
    if wanted.probabilities:
        chance = forecaster.probability(past, steps, wanted.probabilities)
        made[layouts.probabilities(wanted.probabilities).name] = chance
    return {name: values.squeeze(-3).float().cpu().numpy() for name, values in made.items()}
