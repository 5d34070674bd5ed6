"""Readers against archives of the same events that were made independently of them; skipped without the files."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from nowcast.data import readers
from nowcast.data.archive import PACK_NODATA, PACK_STEP
from nowcast.data.readers import Frame

pytest.importorskip("h5py")

# Of each format: the event, the packages it needs.
EVENTS = {
    "knmi_hdf5": "knmi_201008",
    "fmi_pgm": "fmi_20160928",
    "mch_gif": "mch_20160711",
    "bom_rf3": "bom_20201031",
    "odim_hdf5": "opera_20180824",
    "mrms_grib2": "mrms_20190610",
}
FOLDERS = {"odim_hdf5": "opera_odim_hdf5"}


def file_of(events: Path, name: str, number: int = 0) -> Path:
    """One of the original files of a format."""
    return sorted((events / "raw" / FOLDERS.get(name, name)).iterdir())[number]


def read(path: Path) -> Frame:
    """The only frame of a file, whose format is told from its contents."""
    (frame,) = readers.create(readers.detect(path)).frames(path)
    return frame


def degrees(wkt: str) -> Transformer:
    """From a projection to longitude and latitude."""
    return Transformer.from_crs(CRS.from_wkt(wkt), "EPSG:4326", always_xy=True)


def cut_to(frame: Frame, archive: xr.DataArray) -> np.ndarray:
    """The part of a frame that an archive shows."""
    row = int(np.abs(frame.grid.y.values - archive.y.values[0]).argmin())
    columns = (archive.x.values[0] - frame.grid.x.values + 180) % 360 - 180 if archive.x.attrs["units"] != "m" else (
        archive.x.values[0] - frame.grid.x.values
    )  # fmt: skip
    column = int(np.abs(columns).argmin())
    assert abs(columns[column]) < 1e-3
    return frame.rate[row:, column:][: archive.y.size, : archive.x.size]


@pytest.mark.parametrize("name", EVENTS)
def test_a_file_is_what_the_archive_of_its_event_says(real_events: Path, name: str) -> None:
    if name == "mrms_grib2":
        pytest.importorskip("eccodes")
    path = file_of(real_events, name)
    assert readers.detect(path) == name
    frame = read(path)
    with xr.open_dataset(real_events / f"{EVENTS[name]}.nc") as archive:
        shown = archive.rain_rate.sel(time=frame.time)  # of exactly this time
        stored, got = shown.values, cut_to(frame, shown)
        wkt = archive.crs.attrs["crs_wkt"]
    assert np.array_equal(np.isnan(got), np.isnan(stored))
    known = ~np.isnan(got)
    off = np.abs(np.minimum(got[known], (PACK_NODATA - 1) * PACK_STEP) - stored[known])
    assert off.max() <= PACK_STEP / 2 + 1e-4
    assert np.count_nonzero(got[known] > 1) > 50
    for place in ((0, 0), (-1, 0), (0, -1), (-1, -1)):
        here = frame.grid.x.values[place[1]], frame.grid.y.values[place[0]]
        mine, theirs = (degrees(text).transform(*here) for text in (frame.grid.crs.crs_wkt, wkt))
        assert mine == pytest.approx(theirs, abs=2e-5)  # a metre or two, which is the accuracy of datum shifts


def test_a_geotiff_on_another_grid_shows_the_rain_of_the_pgm(real_events: Path) -> None:
    pytest.importorskip("rasterio")
    fine, coarse = read(file_of(real_events, "fmi_geotiff")), read(file_of(real_events, "fmi_pgm"))
    assert fine.time == coarse.time
    across = Transformer.from_crs(*(CRS.from_wkt(frame.grid.crs.crs_wkt) for frame in (coarse, fine)), always_xy=True)
    x, y = np.meshgrid(coarse.grid.x.values[100:-100:7], coarse.grid.y.values[100:-100:7])
    there_x, there_y = across.transform(x, y)
    shown = xr.DataArray(fine.rate, coords={"y": fine.grid.y.values, "x": fine.grid.x.values}, dims=("y", "x"))
    there = {"y": (("row", "column"), there_y), "x": (("row", "column"), there_x)}
    one = shown.sel({axis: xr.DataArray(place[1], dims=place[0]) for axis, place in there.items()}, method="nearest")
    alike = [
        float(xr.corr(np.log1p(one), np.log1p(one.copy(data=coarse.rate[100 + shift : -100 + shift : 7, 100:-100:7]))))
        for shift in (0, 20)  # rows
    ]
    assert alike[0] > 0.95
    assert alike[1] < 0.8
