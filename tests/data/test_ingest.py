"""Folders of frames become one archive: nothing is lost, nothing bad gets in, and what is there stays whole."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_STEP, Archive, write_archive
from nowcast.data.ingest import ingest
from nowcast.data.intake import Recipe, find_files
from nowcast.data.places import same_place
from nowcast.data.quality import QualityControl
from nowcast.data.readers import create


def write_frames(rain: xr.Dataset, folder: Path, numbers: Sequence[int]) -> list[Path]:
    """Frames of an archive as a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"frame_{number:03}.nc" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        write_archive(rain.isel(time=[number]), path)
    return paths


def contents(path: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def agrees(path: Path, rain: xr.Dataset) -> bool:
    """Whether an archive holds these frames in the order of time, to packing precision."""
    archive = Archive.open(path)
    expected = rain.sortby("time")
    with xr.open_dataset(path) as written:
        increasing = bool(np.all(np.diff(written.time.values) > np.timedelta64(0)))
    got = np.stack([archive.read(index) for index in range(len(archive))])
    return (
        increasing
        and np.array_equal(archive.times, expected.time.values)
        and np.allclose(got, expected.rain_rate.values, atol=PACK_STEP / 2 + 1e-4, equal_nan=True)
    )


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_frames_in_any_order_become_an_archive_in_the_order_of_time(
    rain: xr.Dataset, tmp_path: Path, name: str, order: list[int]
) -> None:
    files = write_frames(rain, tmp_path / "files", order)
    report = ingest(files, tmp_path / name)
    assert (report.written, report.skipped) == (4, [])
    assert report.disordered == sum(later < max(order[: place + 1]) for place, later in enumerate(order))
    assert agrees(tmp_path / name, rain.isel(time=slice(4)))
    assert same_place(Archive.open(tmp_path / name).grid, Archive.open(files[0]).grid)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "files"])


def test_processes_give_what_one_gives(rain: xr.Dataset, tmp_path: Path) -> None:
    files = write_frames(rain, tmp_path / "files", range(6))
    write_archive(rain.isel(time=slice(6, 10)), tmp_path / "files" / "many.nc")  # several frames in a file
    files = [*files[:3], tmp_path / "files" / "many.nc", *files[3:]]
    done = []
    report = ingest(files, tmp_path / "b.zarr", jobs=2, progress=lambda *numbers: done.append(numbers))
    ingest(files, tmp_path / "a.zarr")
    assert report.written == 10
    assert done == [(number, 7) for number in range(8)]
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def bad_files(rain: xr.Dataset, folder: Path) -> dict[str, str]:
    """Files that cannot be used, beside good ones, and what is wrong with each."""
    (good,) = write_frames(rain, folder, [0])
    (folder / "0_empty.nc").touch()
    (folder / "cut.nc").write_bytes(good.read_bytes()[:3000])
    (folder / "notes.txt").write_text("not radar")
    write_archive(rain.isel(time=[0]), folder / "z_twice.nc")
    still = rain.isel(time=[8]).copy(deep=True)
    still["rain_rate"][:] = rain.rain_rate.values[5]
    write_archive(still, folder / "frame_006.nc")
    elsewhere = rain.isel(time=[9]).copy(deep=True)
    elsewhere["crs"].attrs = CRS.from_proj4("+proj=laea +lat_0=40 +lon_0=10 +ellps=GRS80").to_cf()
    write_archive(elsewhere, folder / "0_projection.nc")
    write_archive(rain.isel(time=[10], x=slice(20)), folder / "shape.nc")
    flat = rain.isel(time=[11]).copy(deep=True)
    flat["rain_rate"][:] = 4.0
    write_archive(flat, folder / "flat.nc")
    write_archive(rain.isel(time=[12]).where(False).assign(crs=rain.crs), folder / "unseen.nc")
    return {
        "0_empty.nc": "is empty",
        "cut.nc": "cannot be read",
        "notes.txt": "none of the formats",
        "z_twice.nc": "has the time 2020-06-01T12:00:00",
        "frame_006.nc": "repeats every pixel",
        "0_projection.nc": "another grid or projection",
        "shape.nc": "has 40 × 20 pixels",
        "flat.nc": "is constant",
        "unseen.nc": "nothing is observed",
    }


def test_bad_files_are_named_with_what_is_wrong_and_the_rest_goes_in(rain: xr.Dataset, tmp_path: Path) -> None:
    wrong = bad_files(rain, tmp_path / "files")
    write_frames(rain, tmp_path / "files", range(6))
    report = ingest(find_files([tmp_path / "files"]), tmp_path / "a.zarr")
    said = {bad.path.name: bad.reason for bad in report.skipped}
    assert said.keys() == wrong.keys()
    assert all(wrong[name] in said[name] for name in wrong), said
    assert agrees(tmp_path / "a.zarr", rain.isel(time=slice(6)))


def test_an_ingest_that_stops_goes_on_when_the_file_is_mended(rain: xr.Dataset, tmp_path: Path) -> None:
    files = write_frames(rain, tmp_path / "files", range(3))
    files[1].write_bytes(b"\x89HDF")
    with pytest.raises(InputError, match=r"frame_001\.nc: .*1 frames are kept, --resume goes on"):
        ingest(files, tmp_path / "a.zarr", on_error="stop")
    write_frames(rain, tmp_path / "files", [1])  # mended
    assert ingest(files, tmp_path / "a.zarr", existing="resume", on_error="stop").written == 3
    assert agrees(tmp_path / "a.zarr", rain.isel(time=slice(3)))


def test_without_a_frame_nothing_is_left(rain: xr.Dataset, tmp_path: Path) -> None:
    files = write_frames(rain, tmp_path / "files", range(2))
    for path in files:
        path.write_bytes(b"\x89HDF")
    for on_error in ("skip", "stop"):
        with pytest.raises(InputError, match=r"frame_000\.nc"):
            ingest(files, tmp_path / "a.zarr", on_error=on_error)
    assert os.listdir(tmp_path) == ["files"]


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_appending_is_like_ingesting_all_at_once_and_again_changes_nothing(
    rain: xr.Dataset, tmp_path: Path, name: str
) -> None:
    files = write_frames(rain, tmp_path / "files", range(9))
    ingest(files[3:6], tmp_path / name)
    report = ingest(files[5:], tmp_path / name, existing="append")
    assert (report.written, report.present, report.skipped) == (3, 1, [])
    report = ingest(files, tmp_path / name, existing="append")  # the first ones lie before what is there
    assert (report.written, report.present, report.skipped) == (3, 6, [])
    assert agrees(tmp_path / name, rain.isel(time=slice(9)))
    assert sorted(os.listdir(tmp_path)) == sorted([name, "files"])


def test_quality_control_acts_on_what_is_written(rain: xr.Dataset, tmp_path: Path) -> None:
    dirty = rain.isel(time=slice(8)).copy(deep=True)
    dirty["rain_rate"][:, 20, 30] = 3.0  # a mast
    files = write_frames(dirty, tmp_path / "files", range(8))
    quality = QualityControl(clip=5, clutter=0.99)
    ingest(files, tmp_path / "a.zarr", Recipe(quality=quality))
    archive = Archive.open(tmp_path / "a.zarr")
    got = np.stack([archive.read(index) for index in range(8)])
    always = (dirty.rain_rate.values.round(2) >= 0.1).all(axis=0)
    expected = np.where(always, np.nan, np.minimum(dirty.rain_rate.values, 5))
    assert always[20, 30]
    assert np.allclose(got, expected, atol=PACK_STEP, equal_nan=True)


def test_files_are_found_at_any_depth_in_the_order_of_their_times(tmp_path: Path) -> None:
    names = ["b/1/radar_202001010005.h5", "a/radar_202001010010.h5", "b/radar_202001010000.h5", "b/s.zarr/0/0.0"]
    for name in [*names, "b/.hidden"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in ("b/s.zarr", names[2], names[0], names[1])]
    assert find_files([tmp_path / "**"]) == expected
    assert find_files([tmp_path / "b", tmp_path / "a"]) == expected
    assert find_files([tmp_path / "b" / "s.zarr"]) == expected[:1]
    with pytest.raises(InputError, match="names no file"):
        find_files([tmp_path / "*.gif"])


def test_a_zarr_archive_can_be_read_frame_by_frame(rain: xr.Dataset, tmp_path: Path) -> None:
    write_archive(rain.isel(time=slice(3)), tmp_path / "s.zarr")
    frames = list(create("cf").frames(tmp_path / "s.zarr"))
    assert [frame.time for frame in frames] == list(rain.time.values[:3])
    assert frames[2].rate == pytest.approx(rain.rain_rate.values[2], abs=PACK_STEP, nan_ok=True)


def test_the_same_place_in_other_words_is_the_same(rain: xr.Dataset, tmp_path: Path) -> None:
    paths = []
    words = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m"
    for name, crs in {"epsg": CRS.from_epsg(3035), "proj": CRS.from_proj4(words)}.items():
        attrs = crs.to_cf()
        if name == "proj":
            del attrs["crs_wkt"]
        write_archive(rain.isel(time=[0]).assign(crs=((), np.int32(0), attrs)), tmp_path / f"{name}.nc")
        paths.append(tmp_path / f"{name}.nc")
    one, other = (Archive.open(path).grid for path in paths)
    assert same_place(one, other)
