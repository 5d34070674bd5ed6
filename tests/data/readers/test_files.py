"""Telling formats and times apart, MeteoSwiss' colours, and any file in CF conventions."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.readers import Frame
from nowcast.data.readers._files import MissingPackage, package
from nowcast.data.readers._reader import time_in_name

NAMES = {
    "RAD_NL25_RAP_5min_201008260315.h5": "2010-08-26T03:15:00",
    "PrecipRate_00.00_20190610-000200.grib2.gz": "2019-06-10T00:02:00",
    "66_20201031_131000.prcp-c10.nc": "2020-10-31T13:10:00",
    "radar_2020-10-31T13:10.nc": "2020-10-31T13:10:00",
    "composite_99999999999999.nc": None,
    "composite.nc": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_tells_its_time(name: str) -> None:
    told = NAMES[name]
    assert time_in_name(name) == (None if told is None else np.datetime64(told))


def test_a_pattern_tells_the_time_of_unusual_names() -> None:
    assert time_in_name("AQC161932130V_00005.801.gif", "%y%j%H%M") == np.datetime64("2016-07-11T21:30:00")
    assert time_in_name("raa01-ry_10000-1408030955-dwd---bin", "%y%m%d%H%M") == np.datetime64("2014-08-03T09:55:00")


def test_empty_and_unknown_files_are_no_radar(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "notes.txt").write_text("nothing of interest")
    with pytest.raises(InputError, match=r"empty\.h5 is empty"):
        readers.detect(tmp_path / "empty.h5")
    with pytest.raises(InputError, match=r"none of the formats .*radolan"):
        readers.detect(tmp_path / "notes.txt")


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(MissingPackage, match=r"no_such_package.*nowcast\[readers\]"):
        package("no_such_package")


def test_rates_of_a_swiss_composite_are_its_colours(tmp_path: Path) -> None:
    image_class = pytest.importorskip("PIL.Image")
    pytest.importorskip("pysteps")
    stored = np.zeros((640, 710), dtype=np.uint8)
    stored[3, 5], stored[7, 2] = 9, 4
    image = image_class.fromarray(stored, mode="P")
    palette = [(255, 255, 255)] * 256  # dry
    palette[9], palette[4] = (145, 161, 161), (255, 0, 255)  # 0.10 mm/h in MeteoSwiss' table, and a colour not in it
    image.putpalette([part for colour in palette for part in colour])
    image.save(tmp_path / "RZC161932130V.801.gif")
    (frame,) = readers.create("mch_gif").frames(tmp_path / "RZC161932130V.801.gif")
    assert frame.time == np.datetime64("2016-07-11T21:30:00")
    assert frame.rate[3, 5] == pytest.approx(0.1)
    assert np.isnan(frame.rate[7, 2])
    assert np.nansum(frame.rate) == pytest.approx(0.1)


def foreign(values: np.ndarray, unit: str, **coords: tuple) -> xr.Dataset:
    """A file of somebody else's: south up, kilometres, names of their own."""
    y = xr.Variable("northing", 5.0 + 2 * np.arange(values.shape[-2]), {"axis": "Y", "units": "km"})
    x = xr.Variable("easting", 1.0 + 2 * np.arange(values.shape[-1]), {"axis": "X", "units": "km"})
    dims = (*(["when"] if values.ndim == 3 else []), "northing", "easting")
    mapping = {
        "grid_mapping_name": "polar_stereographic",
        "straight_vertical_longitude_from_pole": 10.0,
        "latitude_of_projection_origin": 90.0,
        "standard_parallel": 60.0,
        "earth_radius": 6371000.0,
    }
    return xr.Dataset(
        {"rain": (dims, values, {"units": unit, "grid_mapping": "where"}), "where": ((), 0, mapping)},
        coords={"northing": y, "easting": x, **coords},
    )


def frames_of(dataset: xr.Dataset, path: Path, **options: object) -> list[Frame]:
    """What the reader of CF files makes of a data set, from NetCDF."""
    dataset.to_netcdf(path)
    assert readers.detect(path) == "cf"
    return list(readers.create("cf", **options).frames(path))


def test_a_foreign_file_is_turned_north_up_into_rates_and_metres(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    depth = random.gamma(1, 1, (3, 4, 5)).astype(np.float32)
    depth[1, 0, 2] = np.nan
    times = np.datetime64("2020-01-01T00:00", "ns") + 10 * np.arange(3) * np.timedelta64(1, "m")
    frames = frames_of(foreign(depth, "mm", time=("when", times)), tmp_path / "a.nc", minutes=10)
    for frame, time, expected in zip(frames, times, depth, strict=True):
        assert frame.time == time
        assert frame.rate == pytest.approx(6 * expected[::-1], nan_ok=True)
    assert frames[0].grid.y.values == pytest.approx([11e3, 9e3, 7e3, 5e3])
    assert frames[0].grid.x.values == pytest.approx([1e3, 3e3, 5e3, 7e3, 9e3])
    assert frames[0].grid.crs is not None
    assert frames[0].grid.crs.attrs["grid_mapping_name"] == "polar_stereographic"


def test_reflectivity_of_a_single_field_takes_its_time_from_a_scalar(tmp_path: Path) -> None:
    dbz = np.array([[20.0, -np.inf], [np.nan, 40.0], [5.0, 10.0]], dtype=np.float32)
    when = ((), np.datetime64("2020-01-01T00:05", "ns"))
    (frame,) = frames_of(foreign(dbz, "dBZ", valid_time=when), tmp_path / "a.nc")
    assert frame.time == np.datetime64("2020-01-01T00:05:00")
    assert frame.rate[2] == pytest.approx([(10**2 / 200) ** (1 / 1.6), 0])
    assert np.isnan(frame.rate[1, 0])


def test_a_foreign_file_without_a_place_or_an_interval_is_refused(tmp_path: Path) -> None:
    field = foreign(np.ones((3, 4)), "mm")
    with pytest.raises(InputError, match="accumulation over a time that the file does not tell"):
        frames_of(field, tmp_path / "a.nc")
    del field["rain"].attrs["grid_mapping"]
    with pytest.raises(InputError, match="no grid mapping"):
        frames_of(field, tmp_path / "b.nc", minutes=5)
    field["rain"].attrs["units"] = "K"
    with pytest.raises(InputError, match="no radar variable"):
        frames_of(field, tmp_path / "c.nc", minutes=5)
