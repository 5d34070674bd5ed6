"""Small files in the formats of MRMS, FMI and BoM, written by the tests, for what real files do not show."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.readers import Frame


def only(path: Path, name: str, **options: object) -> Frame:
    """The one frame of a file of a format."""
    assert readers.detect(path) == name
    (frame,) = readers.create(name, **options).frames(path)
    return frame


def mrms(values: np.ndarray, number: int = 1, category: int = 6) -> bytes:
    """A GRIB2 message of NSSL on a grid of 0.01° from 50° N and 104° W, written as 256° E."""
    eccodes = pytest.importorskip("eccodes")
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    height, width = values.shape
    keys = {
        "discipline": 209, "centre": 161, "parameterCategory": category, "parameterNumber": number,
        "Ni": width, "Nj": height, "dataDate": 20190610, "dataTime": 4,
        "latitudeOfFirstGridPointInDegrees": 50.0, "latitudeOfLastGridPointInDegrees": 50 - 0.01 * (height - 1),
        "longitudeOfFirstGridPointInDegrees": 256.0, "longitudeOfLastGridPointInDegrees": 256 + 0.01 * (width - 1),
        "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01, "bitsPerValue": 16,
    }  # fmt: skip
    for key, value in keys.items():
        eccodes.codes_set(message, key, value)
    eccodes.codes_set_values(message, values.ravel())
    return eccodes.codes_get_message(message)


@pytest.mark.parametrize("packed", [False, True])
def test_mrms_tells_no_coverage_from_no_rain(tmp_path: Path, packed: bool) -> None:
    values = np.array([[-3.0, -1, 0, 2.5], [0, 7, 0, 0], [0, 0, 0, 40]])
    data = mrms(values)
    path = tmp_path / ("a.grib2.gz" if packed else "a.grib2")
    path.write_bytes(gzip.compress(data) if packed else data)
    frame = only(path, "mrms_grib2")
    assert frame.rate == pytest.approx(np.where(values < 0, np.nan, values), abs=1e-3, nan_ok=True)
    assert frame.time == np.datetime64("2019-06-10T00:04:00")
    assert frame.grid.x.values == pytest.approx([-104, -103.99, -103.98, -103.97])
    assert frame.grid.y.values == pytest.approx([50, 49.99, 49.98])
    assert frame.grid.x.attrs["units"] == "degrees_east"


def test_mrms_accumulations_are_divided_and_other_fields_and_halves_refused(tmp_path: Path) -> None:
    path, values = tmp_path / "a.grib2", np.array([[6.0, 0, 12], [0, 1, 3]])
    path.write_bytes(mrms(values, number=4))  # over six hours
    assert only(path, "mrms_grib2").rate == pytest.approx(values / 6, abs=1e-3)
    path.write_bytes(mrms(values, category=3))
    with pytest.raises(InputError, match="no MRMS precipitation"):
        only(path, "mrms_grib2")
    path.write_bytes(mrms(values)[:-20])
    with pytest.raises(InputError, match="cut off"):
        only(path, "mrms_grib2")


STEREOGRAPHIC = "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +x_0=380886.31 +y_0=3395677.92"
REFLECTIVITY = np.array([[0, 72, 74, 255], [104, 64, 255, 84], [0, 0, 73, 255]], dtype=np.uint8)  # 74 is 5 dBZ


def expected_of_fmi() -> np.ndarray:
    dbz = REFLECTIVITY / 2.0 - 32
    rate = np.where(dbz < 5, 0, (10 ** (dbz / 10) / 223) ** (1 / 1.53))
    return np.where(REFLECTIVITY == 255, np.nan, rate)


def test_a_pgm_of_fmi_is_dry_below_5_dbz_and_unknown_at_255(tmp_path: Path) -> None:
    project = Proj(STEREOGRAPHIC)
    corners = [" ".join(map(str, project(*place, inverse=True))) for place in ((1e5, 2e5), (1e5 + 4e3, 2e5 + 6e3))]
    header = [
        "P5", "# obstime 201609281530", "# projection radar {", "# type stereographic", "# centrallongitude 25",
        "# centrallatitude 90", "# truelatitude 60", f"# bottomleft {corners[0]}", f"# topright {corners[1]}", "# }",
        "4 3", "255", "",
    ]  # fmt: skip
    path = tmp_path / "a.pgm"
    path.write_bytes("\n".join(header).encode() + REFLECTIVITY.tobytes())
    frame = only(path, "fmi_pgm")
    assert frame.rate == pytest.approx(expected_of_fmi(), nan_ok=True)
    assert frame.time == np.datetime64("2016-09-28T15:30:00")
    assert frame.grid.x.values == pytest.approx([100_500, 101_500, 102_500, 103_500], abs=0.01)
    assert frame.grid.y.values == pytest.approx([205_000, 203_000, 201_000], abs=0.01)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="11 of 12 pixels"):
        only(path, "fmi_pgm")


def test_a_geotiff_tells_its_place_and_its_name_the_time(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    path, place = tmp_path / "201609281530_FINUTM.tif", rasterio.transform.from_origin(1000, 9000, 250, 500)
    profile = {"height": 3, "width": 4, "count": 1, "dtype": "uint8", "crs": "EPSG:3067", "transform": place}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(REFLECTIVITY, 1)
    frame = only(path, "fmi_geotiff")
    assert frame.time is None  # nothing in the file says so
    assert frame.rate == pytest.approx(expected_of_fmi(), nan_ok=True)
    assert frame.grid.x.values == pytest.approx([1125, 1375, 1625, 1875])
    assert frame.grid.y.values == pytest.approx([8750, 8250, 7750])


def test_a_tiff_without_a_place_is_refused(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("rasterio")
    image.fromarray(REFLECTIVITY).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="does not tell its place"):
        only(tmp_path / "a.tif", "fmi_geotiff")


def test_beyond_the_range_of_a_bom_radar_nothing_is_observed(tmp_path: Path) -> None:
    depth = np.array([[0.0, 1, 2], [3, -0.1, 0], [0.5, 0, 0], [1, 1, 1]])
    crs = CRS.from_proj4("+proj=aea +lat_0=-27.7 +lon_0=153.2 +lat_1=-26.2 +lat_2=-29.3 +ellps=GRS80").to_cf()
    times = {
        name: ((), np.datetime64(time, "ns"))
        for name, time in {"start_time": "2020-10-31T23:54", "valid_time": "2020-11-01T00:00"}.items()
    }
    path = tmp_path / "a.nc"
    xr.Dataset(
        {"precipitation": (("y", "x"), depth, {"units": "kg m-2"}), "proj": ((), 0, crs), **times},
        coords={"y": ("y", [-3.0, -1, 1, 3], {"units": "km"}), "x": ("x", [-2.0, 0, 2], {"units": "km"})},
    ).to_netcdf(path)
    frame = only(path, "bom_rf3", range_km=3.1)
    south_up = np.array([[np.nan, 10, np.nan], [30, np.nan, 0], [5, 0, 0], [np.nan, 10, np.nan]])
    assert frame.rate == pytest.approx(south_up[::-1], nan_ok=True)
    assert frame.grid.y.values == pytest.approx([3000, 1000, -1000, -3000])
    assert frame.time == np.datetime64("2020-11-01T00:00:00")
    assert only(path, "bom_rf3", range_km=None).rate[0, 0] == pytest.approx(10)
