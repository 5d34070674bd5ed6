"""Members, quantiles and probabilities beside the rain rate, as CF variables, of forecasters that have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.forecasting import Wanted, forecast_archive, possible_starts


class Uniform(Forecaster):
    """The rate is uniform between 0 and twice the last one, at every lead time."""

    name, past_frames = "uniform", 1

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        return past[:, -1:].repeat(1, steps, 1, 1, 1)

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        factors = (torch.arange(members) + 0.5) / members * 2
        return self.forecast(past, steps)[:, None] * factors[:, None, None, None, None]

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        return self.forecast(past, steps)[:, :, None] * 2 * torch.tensor(levels)[:, None, None, None]

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        most = 2 * self.forecast(past, steps)[:, :, None]
        chance = (1 - torch.tensor(thresholds)[:, None, None, None] / most.clamp_min(1e-9)).clamp(0, 1)
        return torch.where(most.isnan(), torch.nan, chance)


def written(archive_path: Path, output: Path, wanted: Wanted, forecaster: Forecaster | None = None) -> xr.Dataset:
    archive = Archive.open(archive_path)
    starts = possible_starts(archive, 1, 5)[:3]
    forecast_archive(forecaster or Uniform(), archive, str(output), starts, 2, 5, 2, wanted=wanted)
    engine = "zarr" if output.suffix == ".zarr" else "netcdf4"
    return xr.open_dataset(output, engine=engine, decode_timedelta=False)


@pytest.mark.parametrize("kind", ["f.nc", "f.zarr"])
def test_what_is_written_is_what_the_forecaster_says(archive_path: Path, tmp_path: Path, kind: str) -> None:
    archive = Archive.open(archive_path)
    wanted = Wanted(4, [0.1, 0.5, 0.9], [0.1, 1, 5])
    with written(archive_path, tmp_path / kind, wanted) as made:
        for number in range(3):
            rate = archive.read(number)
            one = made.isel(init_time=number, lead_time=1)
            np.testing.assert_allclose(one["rain_rate"].values, rate, rtol=1e-6)
            for member, factor in enumerate([0.25, 0.75, 1.25, 1.75]):
                field = one["rain_rate_ensemble"].sel(realization=member).values
                np.testing.assert_allclose(field, factor * rate, atol=0.0051)
            for level in (0.1, 0.5, 0.9):
                np.testing.assert_allclose(one["rain_rate_quantile"].sel(quantile=level), 2 * level * rate, atol=0.0051)
            for threshold in (0.1, 1, 5):
                chance = one["probability_of_rain_rate_above_threshold"].sel(threshold=threshold).values
                expected = (1 - threshold / np.maximum(2 * rate, 1e-9)).clip(0, 1)
                np.testing.assert_allclose(chance, expected, atol=0.51e-4)


def test_variables_and_axes_are_described(archive_path: Path, tmp_path: Path) -> None:
    with written(archive_path, tmp_path / "f.nc", Wanted(2, [0.5], [1])) as made:
        assert made["rain_rate_ensemble"].dims == ("init_time", "lead_time", "realization", "y", "x")
        assert made["realization"].attrs["standard_name"] == "realization"
        assert made["rain_rate_quantile"].attrs["units"] == "mm h-1"
        chance = made["probability_of_rain_rate_above_threshold"]
        assert chance.attrs["units"] == "1"
        assert made["threshold"].attrs["standard_name"] == "rainfall_rate"
        assert made["threshold"].attrs["units"] == "mm h-1"
        assert made["threshold"].attrs["spp__relative_to_threshold"] == "greater_than_or_equal_to"
        assert (chance.encoding.get("grid_mapping") or chance.attrs["grid_mapping"]) in made
        for name in ("rain_rate_ensemble", "rain_rate_quantile"):
            assert made[name].attrs["standard_name"] == "rainfall_rate"


def test_such_a_file_is_read_as_one_of_rain_rates(archive_path: Path, tmp_path: Path) -> None:
    written(archive_path, tmp_path / "plain.nc", Wanted()).close()
    written(archive_path, tmp_path / "more.nc", Wanted(2, [0.5], [1])).close()
    plain, more = (ForecastFile.open(tmp_path / name) for name in ("plain.nc", "more.nc"))
    np.testing.assert_array_equal(more.read(2), plain.read(2))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(members=3), "persistence makes one forecast, it has no ensemble of 3 members"),
        (Wanted(quantiles=[0.5]), "persistence makes one forecast, it has no quantiles"),
        (Wanted(probabilities=[1]), "persistence makes one forecast, it has no probabilities"),
    ],
)
def test_who_has_none_says_so_and_nothing_is_left(
    archive_path: Path, tmp_path: Path, wanted: Wanted, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        written(archive_path, tmp_path / "f.nc", wanted, baselines.create("persistence"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"members": -1}, "an ensemble has at least 1 member"),
        ({"quantiles": [0.5, 1.0]}, "quantiles are levels between 0 and 1"),
        ({"quantiles": [0.9, 0.1]}, "rising"),
        ({"probabilities": [0.0]}, "thresholds are rates above 0 mm/h"),
        ({"probabilities": [5, 1]}, "rising"),
    ],
)
def test_what_cannot_be_wanted_is_told(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Wanted(**wrong)
