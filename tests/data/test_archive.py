"""Archives: what is written comes back, units are converted, and unusable files are named."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Archive, pack, unpack, write_archive
from tests.broken import BROKEN


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_what_is_written_comes_back(rain: xr.Dataset, tmp_path: Path, ending: str) -> None:
    write_archive(rain, tmp_path / f"a.{ending}")
    archive = Archive.open(tmp_path / f"a.{ending}")
    frames = np.stack([archive.read(i) for i in range(len(archive))])
    np.testing.assert_allclose(frames, rain.rain_rate.values, atol=0.0051)
    assert np.array_equal(np.isnan(frames), np.isnan(rain.rain_rate.values))
    assert (archive.times == rain.time.values.astype("datetime64[ms]")).all()
    assert archive.step_s == 300
    assert archive.grid.pixel_m == 1000
    assert archive.grid.crs.attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"
    assert not list(tmp_path.glob(".*")), "a temporary file was left"


def test_packing_keeps_hundredths_and_nodata_exactly() -> None:
    rate = np.array([0, 0.01, 0.1, 1, 5, 655.34, np.nan], dtype=np.float32)
    assert np.array_equal(unpack(pack(rate)), rate, equal_nan=True)


def test_rates_beyond_the_packing_are_cut_and_never_become_nodata() -> None:
    assert unpack(pack(np.array([655.35, 1e6]))) == pytest.approx([655.34, 655.34])


def test_south_up_and_west_facing_grids_are_turned_north_up(rain: xr.Dataset, tmp_path: Path) -> None:
    rain.isel(y=slice(None, None, -1), x=slice(None, None, -1)).to_netcdf(tmp_path / "south_up.nc")
    archive = Archive.open(tmp_path / "south_up.nc")
    np.testing.assert_array_equal(archive.read(3), rain.rain_rate.values[3])
    assert archive.grid.y[0] > archive.grid.y[-1]
    assert archive.grid.x[0] < archive.grid.x[-1]


def test_unsorted_times_are_sorted_and_frames_go_with_them(rain: xr.Dataset, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(rain.sizes["time"])
    rain.isel(time=order).to_netcdf(tmp_path / "unsorted.nc")
    archive = Archive.open(tmp_path / "unsorted.nc")
    assert (np.diff(archive.times) > np.timedelta64(0)).all()
    np.testing.assert_array_equal(archive.read(5), rain.rain_rate.values[5])


def test_files_of_a_glob_make_one_archive(rain: xr.Dataset, tmp_path: Path) -> None:
    rain.isel(time=slice(10, None)).to_netcdf(tmp_path / "a.nc")
    rain.isel(time=slice(0, 10)).to_netcdf(tmp_path / "b.nc")
    archive = Archive.open(str(tmp_path / "*.nc"))
    assert len(archive) == rain.sizes["time"]
    np.testing.assert_array_equal(archive.read(2), rain.rain_rate.values[2])
    np.testing.assert_array_equal(archive.read(15), rain.rain_rate.values[15])


@pytest.mark.parametrize(
    ("units", "factor"),
    [("mm/h", 1.0), ("mm", 12.0), ("kg m-2 s-1", 3600.0), ("m s-1", 3.6e6), ("kg m-2", 12.0)],
)
def test_units_become_mm_per_hour(rain: xr.Dataset, tmp_path: Path, units: str, factor: float) -> None:
    other = rain.rename(rain_rate="anything")
    other["anything"] = (rain.rain_rate / factor).assign_attrs(units=units, grid_mapping="crs")
    other.to_netcdf(tmp_path / "other.nc")
    archive = Archive.open(tmp_path / "other.nc")
    assert archive.variables == ["anything"]
    np.testing.assert_allclose(archive.read(0), rain.rain_rate.values[0], rtol=1e-5)


def test_reflectivity_becomes_rain_by_marshall_palmer(rain: xr.Dataset, tmp_path: Path) -> None:
    with np.errstate(divide="ignore"):
        dbz = 10 * np.log10(200 * rain.rain_rate**1.6)
    rain.assign(dbz=dbz.assign_attrs(units="dBZ")).drop_vars("rain_rate").to_netcdf(tmp_path / "dbz.nc")
    archive = Archive.open(tmp_path / "dbz.nc")
    np.testing.assert_allclose(archive.read(4), rain.rain_rate.values[4], rtol=1e-4)


@pytest.mark.parametrize("name", BROKEN)
def test_an_unusable_file_is_named_with_what_is_wrong(broken: Path, name: str) -> None:
    culprit, wrong = BROKEN[name]
    with pytest.raises(InputError) as caught:
        Archive.open(str(broken / name))
    assert culprit in str(caught.value)
    assert wrong in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_frame_is_named_when_it_is_read(rain: xr.Dataset, tmp_path: Path) -> None:
    """A file may open and still be damaged further in; that must not become a stack trace or silent NaN."""
    write_archive(rain, tmp_path / "a.zarr")
    chunk = next((tmp_path / "a.zarr" / "rain_rate").glob("7.0.0"))
    chunk.write_bytes(chunk.read_bytes()[:-40])
    archive = Archive.open(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a\.zarr cannot be read at 2020-06-01T12:35"):
        archive.read(7)


def test_real_events_are_north_up_with_nodata_kept(real_events: Path) -> None:
    archive = Archive.open(real_events / "mch_20160711.nc")
    assert archive.grid.shape == (640, 710)
    assert archive.step_s == 300
    assert np.isnan(archive.read(0)).mean() == pytest.approx(0.30, abs=0.01)
    assert (np.diff(archive.grid.y.values) < 0).all()
