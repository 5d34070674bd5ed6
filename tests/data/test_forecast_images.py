"""Forecasts as GeoTIFF and ODIM files: our readers and GDAL find them where, when and as they were forecast."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.archive import Archive, Grid, write_archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.data.forecast_layout import Layout
from nowcast.data.places import same_place
from nowcast.data.readers._reader import centres, make_grid
from nowcast.forecasting import Wanted, forecast_archive, open_output, possible_starts
from tests.data.test_forecast_output import content
from tests.data.test_gdal import GRIDS, HEIGHT, WIDTH, gdal
from tests.programs import run

ENDINGS = {"geotiff": ".tif", "odim": ".h5"}
pytest.importorskip("rasterio")
pytest.importorskip("h5py")


def written(archive_path: Path, folder: str, format: str | None, count: int = 3, **options: object) -> Archive:
    """Extrapolation of an archive, 2 lead times."""
    archive, forecaster = Archive.open(archive_path), baselines.create("lagrangian_persistence")
    starts = possible_starts(archive, forecaster.past_frames, archive.step_s / 60)[:count]
    forecast_archive(
        forecaster, archive, folder, starts, 2, archive.step_s / 60, format=format, **options  # type: ignore[arg-type]
    )  # fmt: skip
    return archive


def check_round_trip(archive_path: Path, tmp_path: Path, format: str, count: int) -> None:
    archive = written(archive_path, f"{tmp_path}/images/", format, count)
    written(archive_path, f"{tmp_path}/f.nc", None, count)
    file = ForecastFile.open(tmp_path / "f.nc")
    names = sorted(os.listdir(tmp_path / "images"))
    assert len(names) == 2 * count
    step = np.timedelta64(int(archive.step_s), "s")
    for number, init_time in enumerate(file.init_times):
        for lead in range(2):
            stamp = str(init_time.astype("datetime64[s]")).replace("-", "").replace(":", "")
            minutes = (lead + 1) * int(archive.step_s) // 60
            path = tmp_path / "images" / f"{stamp}Z_{minutes:03d}{ENDINGS[format]}"
            (frame,) = readers.create(readers.detect(path)).frames(path)
            np.testing.assert_allclose(frame.rate, file.read(number)[lead], rtol=1e-6)  # NaN where NaN
            assert frame.time == init_time + (lead + 1) * step
            assert same_place(frame.grid, archive.grid)
    assert np.isnan(file.read(0)).any()
    assert (file.read(0) == 0).any()
    assert (file.read(0) > 1).any()


@pytest.mark.parametrize("format", ENDINGS)
def test_our_reader_finds_what_was_forecast(archive_path: Path, tmp_path: Path, format: str) -> None:
    check_round_trip(archive_path, tmp_path, format, 3)


@pytest.mark.parametrize("event", ["mch_20160711.nc", "fmi_20160928.nc"])
@pytest.mark.parametrize("format", ENDINGS)
def test_a_real_event_is_read_as_it_was_forecast(real_events: Path, tmp_path: Path, format: str, event: str) -> None:
    with xr.open_dataset(real_events / event) as whole:
        write_archive(whole.isel(time=slice(6), x=slice(100, 400), y=slice(200, 400)).load(), tmp_path / "part.nc")
    check_round_trip(tmp_path / "part.nc", tmp_path, format, 1)


def grid_of(name: str) -> tuple[Grid, CRS]:
    definition, place, pixel = GRIDS[name]
    crs = CRS.from_user_input(definition)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    left, top = to_degrees.transform(*place, direction="INVERSE")
    return make_grid(*centres(left, top, *pixel, (HEIGHT, WIDTH)), crs), crs


@pytest.mark.parametrize("name", GRIDS)
def test_projections_come_back(tmp_path: Path, name: str) -> None:
    """Rain in the north-west corner only, at its place on earth."""
    grid, _ = grid_of(name)
    rate = np.zeros((1, HEIGHT, WIDTH), dtype=np.float32)
    rate[:, 0, 0] = 12
    for format in ENDINGS:
        times = np.array(["2020-06-01T00:05"], dtype="datetime64[ms]")
        store = open_output(f"{tmp_path}/{format}/", Layout(grid, [90], {"institution": "ORG:1"}), times, None, format)
        with store.opened("refuse"):
            store.write(0, {"rain_rate": rate})
        (path,) = (tmp_path / format).iterdir()
        assert path.name == f"20200601T000500Z_001m30s{ENDINGS[format]}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (frame,) = readers.create(readers.detect(path)).frames(path)
        np.testing.assert_array_equal(frame.rate, rate[0])
        assert same_place(frame.grid, grid)
        assert frame.time == np.datetime64("2020-06-01T00:06:30")
        assert frame.attrs["institution"] == "ORG:1"


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdal-bin is not installed")
@pytest.mark.parametrize("name", ["transverse Mercator", "Lambert azimuthal", "longitude and latitude"])
def test_gdal_finds_corners_and_nodata(tmp_path: Path, name: str) -> None:
    grid, crs = grid_of(name)
    rate = np.full((1, HEIGHT, WIDTH), np.nan, dtype=np.float32)
    rate[:, 0, :2] = [12, 0]
    times = np.array(["2020-06-01T00:05"], dtype="datetime64[ms]")
    store = open_output(f"{tmp_path}/f/", Layout(grid, [300], {}), times, None, "geotiff")
    with store.opened("refuse"):
        store.write(0, {"rain_rate": rate})
    path = tmp_path / "f" / "20200601T000500Z_005.tif"
    info = json.loads(gdal("gdalinfo", "-json", path))
    (left, top), pixel = info["cornerCoordinates"]["upperLeft"], info["geoTransform"]
    assert (left + pixel[1] / 2, top + pixel[5] / 2) == pytest.approx((float(grid.x[0]), float(grid.y[0])), rel=1e-9)
    assert CRS.from_wkt(info["coordinateSystem"]["wkt"]).equals(crs, ignore_axis_order=True)
    assert info["metadata"][""]["forecast_reference_time"] == "2020-06-01T00:05:00Z"
    assert info["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert info["bands"][0]["type"] == "Float32"
    assert [gdal("gdallocationinfo", "-valonly", path, column, 0).strip() for column in (0, 1, 2)] == ["12", "0", "nan"]


def test_odim_attributes_are_those_of_the_standard(archive_path: Path, tmp_path: Path) -> None:
    import h5py

    written(archive_path, f"{tmp_path}/f/", "odim", 1)
    path = sorted((tmp_path / "f").iterdir())[1]
    with h5py.File(path) as file:
        assert file.attrs["Conventions"] == b"ODIM_H5/V2_4"
        what, data = file["dataset1/what"].attrs, file["dataset1/data1/data"][()]
        assert file["what"].attrs["object"] == b"COMP"
        assert what["quantity"] == b"RATE"
        assert what["nodata"] != what["undetect"]
        assert {what["startdate"] + what["starttime"], what["enddate"] + what["endtime"]} == {b"20200601122000"}
        assert file["how/nowcast"].attrs["reference_time"] == b"2020-06-01T12:10:00Z"
        assert file["how/nowcast"].attrs["lead_time"] == 600
        assert file["how/nowcast"].attrs["model"] == b"lagrangian_persistence"
        assert (data == what["nodata"]).any()
        assert (data == what["undetect"]).any()
        where = file["where"].attrs
        assert (where["ysize"], where["xsize"]) == data.shape


@pytest.mark.parametrize("format", ENDINGS)
def test_images_are_resumed_refused_and_replaced(archive_path: Path, tmp_path: Path, format: str) -> None:
    output = f"{tmp_path}/f/"
    written(archive_path, output, format, existing="refuse")
    whole = content(tmp_path / "f")
    with pytest.raises(InputError, match="exists; --overwrite replaces it"):
        written(archive_path, output, format, existing="refuse")
    (tmp_path / "f" / sorted(whole)[3]).unlink()
    kept = {name: (tmp_path / "f" / name).stat().st_mtime_ns for name in sorted(whole)[:2]}
    written(archive_path, output, format, existing="resume")
    assert content(tmp_path / "f") == whole
    assert {name: (tmp_path / "f" / name).stat().st_mtime_ns for name in kept} == kept
    assert os.listdir(tmp_path) == ["f"]


def test_outputs_that_do_not_fit_are_refused(archive_path: Path, rain: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hold the rain rate alone, not rain_rate_ensemble; name a \.nc or \.zarr"):
        written(archive_path, f"{tmp_path}/f/", "geotiff", wanted=Wanted(2))
    with pytest.raises(InputError, match=r"a file a lead time into a folder; end .*f\.nc with /"):
        written(archive_path, f"{tmp_path}/f.nc", "odim")
    with pytest.raises(InputError, match="geotiff or odim, not 'grib'"):
        written(archive_path, f"{tmp_path}/f/", "grib")
    bare = rain.drop_vars("crs").copy(deep=True)
    del bare.rain_rate.attrs["grid_mapping"]
    write_archive(bare, tmp_path / "bare.nc")
    with pytest.raises(InputError, match="need a projection, and the archive has none"):
        written(tmp_path / "bare.nc", f"{tmp_path}/f/", "odim")
    assert os.listdir(tmp_path) == ["bare.nc"]


def test_the_program_writes_images(archive_path: Path, tmp_path: Path) -> None:
    words = ["--baseline", "persistence", "--input", archive_path, "--minutes", 15, "--init", "last"]
    got = run("nowcast.forecast", *words, "--output", f"{tmp_path}/f/", "--format", "geotiff")
    assert got.returncode == 0, got.stderr
    assert sorted(os.listdir(tmp_path / "f")) == [f"20200601T135500Z_{lead}.tif" for lead in ("005", "010", "015")]
    refused = run("nowcast.forecast", *words, "--output", f"{tmp_path}/f/", "--format", "odim", "--plot")
    assert refused.returncode == 2
    assert "not from --format odim" in refused.stderr
