"""The lagged ensemble: members are valid at one time, and what is derived from them is that of a sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import Forecaster, InputError
from nowcast.lagged import Lagged
from tests.programs import run


class Trend(Forecaster):
    """Continues the difference of the last two frames."""

    name, past_frames = "trend", 2

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        ahead = torch.arange(1, steps + 1)[None, :, None, None, None]
        return past[:, -1:] + ahead * (past[:, -1:] - past[:, -2:-1])


def test_members_are_valid_at_the_same_time() -> None:
    """A field that grows evenly is forecast the same from every initial time."""
    rise = torch.rand(2, 1, 1, 5, 7)
    past = 1 + rise * torch.arange(5)[None, :, None, None, None]
    made = Lagged(Trend(), 4).ensemble(past, 3, 4)
    truth = 1 + rise * torch.arange(5, 8)[None, :, None, None, None]
    torch.testing.assert_close(made, truth[:, None].expand(-1, 4, -1, -1, -1, -1))


def test_a_member_is_the_older_forecast_further_ahead() -> None:
    past = torch.rand(2, 4, 1, 5, 7)
    lagged = Lagged(Trend(), 3)
    assert lagged.past_frames == 4
    made = lagged.ensemble(past, 2, 3)
    for lag in range(3):
        older = Trend().forecast(past[:, 2 - lag : 4 - lag], 2 + lag)
        torch.testing.assert_close(made[:, lag], older[:, -2:])
    torch.testing.assert_close(lagged.forecast(past, 2), made[:, 0])


def test_quantiles_and_probabilities_are_those_of_numpy() -> None:
    """Hazen's plotting positions, (i − ½) / L, of the members that are known."""
    past = torch.rand(2, 6, 1, 5, 7) * 4
    past[0, 3, 0, 2, :4] = torch.nan
    past[1, :, 0, 0, 0] = torch.nan
    lagged, levels = Lagged(Trend(), 5), [0.05, 0.3, 0.5, 0.92]
    members = lagged.ensemble(past, 2, 5).numpy()
    made = lagged.quantile(past, 2, levels).numpy()
    chance = lagged.probability(past, 2, [1.0, 3.0]).numpy()
    for place in np.ndindex(2, 2, 1, 5, 7):
        sample = members[(place[0], slice(None), *place[1:])]
        sample = sample[~np.isnan(sample)]
        at = (*place[:2], slice(None), *place[2:])
        if not len(sample):
            assert np.isnan(made[at]).all()
            assert np.isnan(chance[at]).all()
            continue
        np.testing.assert_allclose(made[at], np.quantile(sample, levels, method="hazen"), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(chance[at], [(sample >= 1).mean(), (sample >= 3).mean()], rtol=1e-6)


def test_what_there_is_not_is_told() -> None:
    with pytest.raises(InputError, match="at least 2 initial times, not 1"):
        Lagged(Trend(), 1)
    with pytest.raises(InputError, match="3 lagged forecasts has no 4 members"):
        Lagged(Trend(), 3).ensemble(torch.rand(1, 4, 1, 2, 3), 1, 4)


def test_the_program_writes_lagged_members(archive_path: Path, tmp_path: Path) -> None:
    got = run(
        "nowcast.forecast", "--baseline", "persistence", "--input", archive_path, "--minutes", 10, "--init", "last",
        "--output", tmp_path / "f.nc", "--lagged", 3, "--members", 3, "--quantiles", 0.5,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    with xr.open_dataset(tmp_path / "f.nc") as made, xr.open_dataset(archive_path) as observed:
        assert made.attrs["lagged_members"] == "3"
        for lag in range(3):
            frame = observed.rain_rate[-1 - lag].values
            np.testing.assert_array_equal(made.rain_rate_ensemble[0, 1, lag].values, frame)
