"""Forecast files: georeferenced, on the right times, the right way up, whole or absent."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pyproj import CRS

from nowcast import baselines
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, write_archive
from nowcast.data.forecast_file import ForecastFile, ForecastWriter
from nowcast.forecasting import choose_starts, forecast_archive, possible_starts


def persisted(archive_path: Path, output: Path, chosen: str = "all", steps: int = 4, batch_size: int = 3) -> xr.Dataset:
    archive, persistence = Archive.open(archive_path), baselines.create("persistence")
    starts = choose_starts(archive, possible_starts(archive, 1, 5), chosen)
    forecast_archive(persistence, archive, output, starts, steps, 5, batch_size)
    return xr.open_dataset(output, decode_timedelta=True)


def test_a_persistence_forecast_is_the_archive_again(archive_path: Path, rain: xr.Dataset, tmp_path: Path) -> None:
    """Bit for bit, pixel by pixel, NaN by NaN: nothing on the road from file to file moves or turns a field."""
    forecasts = persisted(archive_path, tmp_path / "f.nc")
    with xr.open_dataset(archive_path) as observed:
        for step in range(4):
            np.testing.assert_array_equal(forecasts.rain_rate[:, step].values, observed.rain_rate.values)
        for axis in ("y", "x"):
            np.testing.assert_array_equal(forecasts[axis], observed[axis])
            assert forecasts[axis].attrs["standard_name"] == observed[axis].attrs["standard_name"]


def test_times_and_projection_are_cf(archive_path: Path, rain: xr.Dataset, tmp_path: Path) -> None:
    forecasts = persisted(archive_path, tmp_path / "f.nc")
    assert (forecasts.init_time.values == rain.time.values).all()
    assert (forecasts.lead_time.values == np.arange(5, 25, 5) * np.timedelta64(60, "s")).all()
    assert (forecasts.time.values == (forecasts.init_time + forecasts.lead_time).values).all()
    assert forecasts.init_time.attrs["standard_name"] == "forecast_reference_time"
    assert forecasts.lead_time.attrs["standard_name"] == "forecast_period"
    assert forecasts.rain_rate.attrs["standard_name"] == "rainfall_rate"
    assert forecasts.rain_rate.attrs["units"] == "mm h-1"
    mapping = forecasts[forecasts.rain_rate.encoding.get("grid_mapping", forecasts.rain_rate.attrs.get("grid_mapping"))]
    assert CRS.from_cf(mapping.attrs).equals(CRS.from_epsg(3035), ignore_axis_order=True)
    assert forecasts.attrs["model"] == "persistence"
    assert forecasts.attrs["observations"] == "moving.nc"
    assert forecasts.attrs["institution"] == "nobody"


def test_batches_do_not_change_a_forecast(archive_path: Path, tmp_path: Path) -> None:
    one, many = (persisted(archive_path, tmp_path / f"{size}.nc", batch_size=size) for size in (1, 7))
    xr.testing.assert_equal(one, many)


def test_chosen_initial_times_are_forecast_in_order(archive_path: Path, tmp_path: Path) -> None:
    chosen = persisted(archive_path, tmp_path / "f.nc", "2020-06-01T13:00,2020-06-01T12:30")
    assert chosen.init_time.values.astype("datetime64[m]").tolist() == [
        np.datetime64(t).astype("datetime64[m]").item() for t in ("2020-06-01T12:30", "2020-06-01T13:00")
    ]
    assert persisted(archive_path, tmp_path / "l.nc", "last").sizes["init_time"] == 1


def test_starts_have_their_whole_past(rain: xr.Dataset, tmp_path: Path) -> None:
    write_archive(rain.drop_isel(time=8), tmp_path / "gap.nc")
    archive = Archive.open(tmp_path / "gap.nc")
    starts = possible_starts(archive, 3, 5)
    assert len(starts) == (8 - 2) + (15 - 2)
    assert (np.diff(archive.times[starts], axis=1) == np.timedelta64(5, "m")).all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("noon", "neither all, last nor a time"),
        ("2020-06-01T12:00", "no forecast can start at 2020-06-01T12:00"),
        ("1999-01-01", "no forecast can start at 1999-01-01"),
    ],
)
def test_an_impossible_initial_time_is_said(archive_path: Path, chosen: str, message: str) -> None:
    archive = Archive.open(archive_path)
    with pytest.raises(InputError, match=message):
        choose_starts(archive, possible_starts(archive, 3, 5), chosen)


def test_too_few_frames_are_said(archive_path: Path) -> None:
    with pytest.raises(InputError, match=r"moving\.nc \(24 frames\) has no 25 frames in a row 5 min apart"):
        possible_starts(Archive.open(archive_path), 25, 5)


class Breaks(Forecaster):
    """Fails at its second forecast."""

    name, past_frames, calls = "breaks", 1, 0

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("broken")
        return past.expand(-1, steps, -1, -1, -1)


def test_a_failed_run_leaves_the_old_file_and_no_half_one(archive_path: Path, tmp_path: Path) -> None:
    archive = Archive.open(archive_path)
    (tmp_path / "f.nc").write_text("the old one")
    with pytest.raises(RuntimeError, match="broken"):
        forecast_archive(Breaks(), archive, tmp_path / "f.nc", possible_starts(archive, 1, 5), 2, 5)
    assert (tmp_path / "f.nc").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]


def test_only_netcdf_is_written(archive_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.nc"):
        ForecastWriter(tmp_path / "f.png", Archive.open(archive_path).grid, [300], {})


def test_an_archive_is_no_forecast_file(archive_path: Path) -> None:
    with pytest.raises(InputError, match="is no forecast file"):
        ForecastFile.open(archive_path)
