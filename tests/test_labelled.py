"""Labelled arrays in and out: places, times and projection are those of the frames, whatever their order."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import nowcast
from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.labelled import forecast_array


@pytest.fixture
def frames(archive_path: Path) -> xr.DataArray:
    return nowcast.open_archive(archive_path)


def test_an_open_archive_is_its_frames_read_when_needed(frames: xr.DataArray, archive_path: Path) -> None:
    archive = Archive.open(archive_path)
    assert frames.chunks is not None
    assert frames.chunks[0] == (1,) * 24
    np.testing.assert_array_equal(frames[5].values, archive.read(5))
    assert frames.attrs["units"] == "mm h-1"
    assert frames["crs"].attrs == archive.grid.crs.attrs  # type: ignore[union-attr]


def test_persistence_keeps_values_places_and_projection(frames: xr.DataArray) -> None:
    made = forecast_array(baselines.create("persistence"), frames, 3, 300)
    assert made.dims == ("lead_time", "y", "x")
    for step in range(3):
        np.testing.assert_array_equal(made[step].values, frames[-1].values)
    assert made["init_time"].values == frames["time"].values[-1]
    assert (made["time"].values == (made["init_time"] + made["lead_time"]).values).all()
    assert made["lead_time"].values.astype("timedelta64[m]").astype(int).tolist() == [5, 10, 15]
    for axis in ("x", "y", "crs"):
        xr.testing.assert_identical(made[axis].reset_coords(drop=True), frames[axis].reset_coords(drop=True))


def test_the_order_of_axes_and_times_does_not_matter(frames: xr.DataArray) -> None:
    flow = baselines.create("lagrangian_persistence")
    made = forecast_array(flow, frames, 3, 300)
    turned = forecast_array(flow, frames[::-1, ::-1, ::-1], 3, 300)
    assert turned["y"].values[0] == frames["y"].values[-1]
    xr.testing.assert_equal(turned.sortby("y", ascending=False).sortby("x"), made)


def test_reflectivity_becomes_rain(frames: xr.DataArray) -> None:
    dbz = (10 * np.log10(200 * frames.clip(0.01) ** 1.6)).assign_attrs(units="dBZ")
    made = forecast_array(baselines.create("persistence"), dbz, 1, 300)
    np.testing.assert_allclose(made[0].values, frames[-1].clip(0.01).values, rtol=1e-4)


def test_a_forecast_survives_a_file(frames: xr.DataArray, tmp_path: Path) -> None:
    made = forecast_array(baselines.create("persistence"), frames, 2, 300)
    made.to_netcdf(tmp_path / "f.nc")
    back = xr.open_dataset(tmp_path / "f.nc", decode_coords="all", decode_timedelta=True)["rain_rate"]
    xr.testing.assert_allclose(back, made)
    assert back.encoding["grid_mapping"] == "crs"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda frames: frames.isel(time=[0, 1, 3]), "needs frames 5 min apart, the last ones are of 2020-06-01T12:00"),
        (lambda frames: frames[-2:], "needs 3 frames, not 2"),
        (lambda frames: frames[0], r"have dimensions \(time, y, x\)"),
        (lambda frames: frames.assign_attrs(units="K"), "units 'K' are none of"),
    ],
)
def test_wrong_frames_are_told(frames: xr.DataArray, wrong, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=said):
        forecast_array(baselines.create("lagrangian_persistence"), wrong(frames), 2, 300)


def test_importing_nowcast_imports_nothing_heavy() -> None:
    script = "import sys, nowcast; sys.exit(any(name in sys.modules for name in ('torch', 'xarray', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
