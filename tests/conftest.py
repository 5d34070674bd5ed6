"""Small radar archives that tests share: rain that moves by a known number of pixels a frame."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from nowcast.data.archive import write_archive


def moving_rain(
    frames: int = 24,
    height: int = 40,
    width: int = 56,
    step_minutes: float = 5,
    start: str = "2020-06-01T12:00",
    down: int = 1,
    right: int = 2,
    seed: int = 0,
) -> xr.Dataset:
    """A smooth random rain pattern carried (down, right) pixels a frame without change; a corner is not observed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    sky = np.zeros((height + 4 * frames, width + 4 * frames))
    rows, columns = np.mgrid[: sky.shape[0], : sky.shape[1]]
    for _ in range(sky.size // 160):
        centre = random.uniform(0, sky.shape[0]), random.uniform(0, sky.shape[1])
        distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
        sky += random.uniform(1, 20) * np.exp(-distance / (2 * random.uniform(1, 3) ** 2))
    sky[sky < 0.1] = 0
    rate = np.stack(
        [
            sky[2 * frames - down * k :, 3 * frames - right * k :][:height, :width]
            for k in range(frames)
        ]
    ).astype(np.float32)  # fmt: skip
    rate[:, (y + x) < height // 4] = np.nan
    times = np.datetime64(start, "s") + np.arange(frames) * np.timedelta64(round(step_minutes * 60), "s")
    crs = CRS.from_epsg(3035)
    return xr.Dataset(
        {
            "rain_rate": (("time", "y", "x"), rate, {"grid_mapping": "crs", "units": "mm h-1"}),
            "crs": ((), np.int32(0), crs.to_cf()),
        },
        coords={
            "time": times.astype("datetime64[ns]"),
            "y": (
                "y",
                3e6 - 1000.0 * np.arange(height),
                {"standard_name": "projection_y_coordinate", "units": "m"},
            ),
            "x": (
                "x",
                4e6 + 1000.0 * np.arange(width),
                {"standard_name": "projection_x_coordinate", "units": "m"},
            ),
        },
        attrs={"institution": "nobody"},
    )


@pytest.fixture(scope="session")
def rain() -> xr.Dataset:
    """Rain that moves one pixel south and two pixels east a frame."""
    return moving_rain()


@pytest.fixture(scope="session")
def archive_path(rain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That rain as a NetCDF archive."""
    path = tmp_path_factory.mktemp("archive") / "moving.nc"
    write_archive(rain, path)
    return path


@pytest.fixture(scope="session")
def real_events() -> Path:
    """A folder of real radar events, where there is one; set NOWCAST_RADAR_EVENTS to say where."""
    folder = Path(os.environ.get("NOWCAST_RADAR_EVENTS", Path(__file__).parents[2] / "shared" / "radar"))
    if not (folder / "mch_20160711.nc").exists():
        pytest.skip("no folder of real radar events at hand")
    return folder


@pytest.fixture(scope="session")
def broken(rain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of unusable archives; see tests/broken.py."""
    from tests.broken import write_broken

    folder = tmp_path_factory.mktemp("broken")
    write_broken(rain, folder)
    return folder
