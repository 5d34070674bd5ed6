"""Lagged: an ensemble of the forecasts that any deterministic forecaster made for the same time, older and newer.

Source: Hoffman and Kalnay 1983, doi 10.3402/tellusa.v35i2.11457.
"""

from collections.abc import Sequence

import torch

from nowcast.contracts import Forecaster, InputError

__all__ = ["Lagged"]


class Lagged(Forecaster):
    """Members are the forecasts from the last L initial times, at the times that the newest one is valid at.

    Member m is m steps older and looks m steps further ahead. The forecast itself is that of the newest. Quantiles are
    linear between sorted members, the i-th at level (i − ½) / L; the probability to reach a threshold is the share of
    members that do. Where one member cannot say the others count. Costs L forecasts.

    Args:
        forecaster: of members.
        lags: L.

    Raises:
        InputError: for fewer than 2.
    """

    def __init__(self, forecaster: Forecaster, lags: int) -> None:
        if lags < 2:
            raise InputError(f"a lagged ensemble has the forecasts of at least 2 initial times, not {lags}")
        self.forecaster, self.lags = forecaster, lags
        self.name, self.past_frames = forecaster.name, forecaster.past_frames + lags - 1

    def describe(self) -> dict[str, str]:
        """That of the forecaster, and the lags."""
        return {**self.forecaster.describe(), "lagged_members": str(self.lags)}

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, C, H, W) mm/h."""
        return self.forecaster.forecast(past[:, self.lags - 1 :], steps)

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, members, steps, C, H, W) mm/h, the newest first.

        Raises:
            InputError: for more members than lags, or further ahead than the forecaster can look.
        """
        if not 0 < members <= self.lags:
            raise InputError(f"an ensemble of {self.lags} lagged forecasts has no {members} members")
        frames = past.shape[1]
        made = [self.forecaster.forecast(past[:, : frames - lag], steps + lag)[:, lag:] for lag in range(members)]
        return torch.stack(made, dim=1)

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W) mm/h."""
        ordered = self.ensemble(past, steps, self.lags).sort(dim=1).values  # what is not known comes last
        count = (~ordered.isnan()).sum(dim=1, keepdim=True)
        found = []
        for level in levels:
            place = (level * count - 0.5).clamp_min(0).minimum((count - 1).clamp_min(0))
            below, above = (ordered.gather(1, edge.long()) for edge in (place.floor(), place.ceil()))
            found.append((below + (place - place.floor()) * (above - below))[:, 0])
        return torch.stack(found, dim=2)

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, C, H, W)."""
        made = self.ensemble(past, steps, self.lags)
        reached = [torch.where(made.isnan(), torch.nan, made >= threshold).nanmean(dim=1) for threshold in thresholds]
        return torch.stack(reached, dim=2)
