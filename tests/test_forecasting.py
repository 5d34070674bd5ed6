"""Forecast files: georeferenced, on the right times, the right way up, whole or absent."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pyproj import CRS
from torch.multiprocessing.reductions import StorageWeakRef

from nowcast import baselines, models
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, write_archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.forecasting import choose_starts, forecast_archive, possible_starts
from nowcast.tiling import Tiled
from nowcast.trained import Trained


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


class Watched(Forecaster):
    """Persistence of which at most a few forecasts may be alive, and which waits until the frames to come are read."""

    name, past_frames = "watched", 1

    def __init__(self, archive: Archive) -> None:
        self.read: dict[int, threading.Event] = {index: threading.Event() for index in range(len(archive))}
        self.made: list[StorageWeakRef] = []
        self.alive = self.calls = 0
        reading = archive.read

        def reads(index: int) -> np.ndarray:
            self.read[index].set()
            return reading(index)

        archive.read = reads  # type: ignore[method-assign]

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        following = min((self.calls + 1) * len(past), len(self.read) - 1)
        assert self.read[following].wait(10), "the next batch is not read while this one is forecast"
        self.calls += 1
        made = past.repeat(1, steps, 1, 1, 1)
        self.made.append(StorageWeakRef(made.untyped_storage()))
        self.alive = max(self.alive, sum(not one.expired() for one in self.made))
        return made


@pytest.mark.parametrize("kind", ["f.nc", "f.zarr", "f/"])
def test_reading_goes_ahead_and_few_forecasts_are_in_memory(archive_path: Path, tmp_path: Path, kind: str) -> None:
    """Whatever their number: the one being made, the one being written and the one that waits for it."""
    archive = Archive.open(archive_path)
    watched = Watched(archive)
    forecast_archive(watched, archive, f"{tmp_path}/{kind}", possible_starts(archive, 1, 5), 3, 5, 2)
    assert watched.calls == 12
    assert watched.alive <= 3


def tiny_network() -> Trained:
    torch.manual_seed(0)
    network = models.create({"name": "se_resunet", "width": 8, "depth": 1}, past_frames=3, steps=2).eval()
    facts = {"past_frames": 3, "steps": 2, "step_s": 300, "pixel_m": 1000}
    return Trained(network, facts, {"network": {"class_path": "nowcast.models.Named"}}, "digest")


@pytest.mark.parametrize("name", ["persistence", "lagrangian_persistence", "network", "tiled network"])
def test_nothing_observed_is_nan_and_dry_is_dry(rain: xr.Dataset, tmp_path: Path, name: str) -> None:
    """NaN stays where no frame was observed, and nowhere else."""
    forecaster = baselines.create(name) if "network" not in name else tiny_network()
    forecaster = Tiled(forecaster, 128) if "tiled" in name else forecaster
    for case, frames in {"nan": rain.rain_rate * np.nan, "dry": rain.rain_rate * 0}.items():
        write_archive(rain.assign(rain_rate=frames.assign_attrs(rain.rain_rate.attrs)), tmp_path / f"{case}.nc")
        archive = Archive.open(tmp_path / f"{case}.nc")
        starts = possible_starts(archive, forecaster.past_frames, 5)[:2]
        forecast_archive(forecaster, archive, tmp_path / "f.nc", starts, 2, 5)
        made = ForecastFile.open(tmp_path / "f.nc").read(1)
        np.testing.assert_array_equal(np.isnan(made), np.isnan(np.broadcast_to(archive.read(0), made.shape)))
        if "network" not in name:
            assert (np.nan_to_num(made) == 0).all()


class Breaks(Forecaster):
    """Fails at its third forecast, before which the first is surely written."""

    name, past_frames, calls = "breaks", 1, 0

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("broken")
        return past.expand(-1, steps, -1, -1, -1)


def test_a_failed_run_leaves_the_old_file_and_can_go_on(archive_path: Path, tmp_path: Path) -> None:
    archive = Archive.open(archive_path)
    (tmp_path / "f.nc").write_text("the old one")
    forecaster, starts = Breaks(), possible_starts(archive, 1, 5)
    with pytest.raises(RuntimeError, match="broken"):
        forecast_archive(forecaster, archive, tmp_path / "f.nc", starts, 2, 5)
    assert (tmp_path / "f.nc").read_text() == "the old one"
    forecast_archive(forecaster, archive, tmp_path / "f.nc", starts, 2, 5, existing="resume")
    assert ForecastFile.open(tmp_path / "f.nc").init_times.size == len(starts)
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]


def test_other_endings_are_refused(archive_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f\.png must end in \.nc \(one file\), \.zarr, or / "):
        persisted(archive_path, tmp_path / "f.png")


def test_an_archive_is_no_forecast_file(archive_path: Path) -> None:
    with pytest.raises(InputError, match="is no forecast file"):
        ForecastFile.open(archive_path)
