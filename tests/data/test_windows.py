"""Windows: contiguous at one step, never across a gap, blocks of time respected."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Archive, write_archive
from nowcast.data.windows import Window, find_windows


def opened(rain: xr.Dataset, path: Path) -> Archive:
    write_archive(rain, path)
    return Archive.open(path)


def test_every_run_of_frames_is_found_once(archive_path: Path) -> None:
    found = find_windows(Archive.open(archive_path), 6, 5)
    assert np.array_equal(found, np.arange(19)[:, None] + np.arange(6))


def test_no_window_crosses_a_gap(rain: xr.Dataset, tmp_path: Path) -> None:
    archive = opened(rain.drop_isel(time=[9, 10]), tmp_path / "gap.nc")
    found = find_windows(archive, 4, 5)
    assert len(found) == (9 - 3) + (13 - 3)
    steps = np.diff(archive.times[found], axis=1)
    assert (steps == np.timedelta64(5, "m")).all()


def test_a_fine_archive_serves_coarse_windows(rain: xr.Dataset, tmp_path: Path) -> None:
    two_minutes = rain.assign_coords(time=rain.time.values[0] + np.arange(24) * np.timedelta64(120, "s"))
    archive = opened(two_minutes, tmp_path / "fine.nc")
    found = find_windows(archive, 4, 6)
    assert np.array_equal(found[0], [0, 3, 6, 9])
    assert len(found) == 24 - 9


def test_a_coarse_window_skips_over_a_missing_frame_it_does_not_need(rain: xr.Dataset, tmp_path: Path) -> None:
    archive = opened(rain.drop_isel(time=1), tmp_path / "one_missing.nc")
    found = find_windows(archive, 3, 10)
    first = archive.times[found[0]]
    assert (first == rain.time.values[[0, 2, 4]].astype("datetime64[ms]")).all()


def test_jitter_of_seconds_is_no_gap(rain: xr.Dataset, tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).integers(-8, 9, 24) * np.timedelta64(1, "s")
    archive = opened(rain.assign_coords(time=rain.time.values + jitter), tmp_path / "jitter.nc")
    # Most steps of the archive decide what its step is; a frame may be a tenth of that away.
    archive.step_s = 300.0
    assert len(find_windows(archive, 24, 5)) == 1


def test_windows_on_a_border_of_blocks_belong_to_neither(archive_path: Path) -> None:
    archive = Archive.open(archive_path)
    border = np.datetime64("2020-06-01T13:00", "ms")
    before = find_windows(archive, 4, 5, None, border)
    after = find_windows(archive, 4, 5, border, None)
    assert (archive.times[before] < border).all()
    assert (archive.times[after] >= border).all()
    assert len(before) + len(after) == len(find_windows(archive, 4, 5)) - 3


@pytest.mark.parametrize("step_minutes", [2, 7.5])
def test_a_step_that_the_archive_cannot_serve_is_refused(archive_path: Path, step_minutes: float) -> None:
    with pytest.raises(InputError, match=rf"step of 5 min, which cannot serve a step of {step_minutes:g} min"):
        find_windows(Archive.open(archive_path), 4, step_minutes)


def test_lead_times_count_from_the_last_past_frame() -> None:
    assert Window(past_frames=3, steps=4, step_minutes=10).lead_times == [10, 20, 30, 40]
    with pytest.raises(InputError):
        Window(past_frames=0)
