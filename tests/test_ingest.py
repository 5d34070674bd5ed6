"""`python -m nowcast.ingest`: real files go through, bad ones are listed, and nothing is replaced unasked."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.data.archive import write_archive
from tests.data.test_ingest import write_frames
from tests.programs import run


def test_a_folder_of_real_files_agrees_with_the_archive_of_the_event(real_events: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    output = tmp_path / "mch.zarr"
    got = run("nowcast.ingest", "--input", real_events / "raw" / "mch_gif" / "**", "--output", output)
    assert got.returncode == 0, got.stderr
    assert "8 frames of 8 files" in got.stdout
    with xr.open_dataset(output) as written, xr.open_dataset(real_events / "mch_20160711.nc") as event:
        same_times = event.rain_rate.sel(time=written.time)
        assert np.array_equal(np.isnan(written.rain_rate), np.isnan(same_times))
        assert float(abs(written.rain_rate - same_times).max()) < 0.0101
        assert written.attrs["institution"] == "MeteoSwiss"


def test_skipped_files_are_listed_and_exit_with_3(rain: xr.Dataset, tmp_path: Path) -> None:
    files = write_frames(rain, tmp_path / "files", range(4))
    files[2].write_bytes(files[2].read_bytes()[:5000])
    output = tmp_path / "a.nc"
    got = run("nowcast.ingest", "--input", tmp_path / "files", "--output", output)
    assert got.returncode == 3
    assert "3 frames of 4 files" in got.stdout
    listed = (tmp_path / "a.nc.skipped.csv").read_text().splitlines()
    assert listed[0] == "file,reason"
    assert len(listed) == 2
    assert str(files[2]) in listed[1]
    assert str(files[2]) in got.stderr


def test_an_archive_is_kept_unless_told_otherwise(rain: xr.Dataset, tmp_path: Path) -> None:
    files, output = write_frames(rain, tmp_path / "files", range(4)), tmp_path / "a.zarr"
    assert run("nowcast.ingest", "--input", files[0], files[1], "--output", output).returncode == 0
    refused = run("nowcast.ingest", "--input", *files, "--output", output)
    assert refused.returncode == 2
    assert "exists; --append adds to it, --overwrite replaces it" in refused.stderr
    assert run("nowcast.ingest", "--input", *files, "--output", output, "--append", "false").returncode == 2
    added = run("nowcast.ingest", "--input", *files, "--output", output, "--append")
    assert (added.returncode, "2 were there already" in added.stdout) == (0, True)
    assert xr.open_zarr(output).sizes["time"] == 4
    again = run("nowcast.ingest", "--input", *files, "--output", output, "--resume")  # nothing was interrupted
    assert (again.returncode, "0 frames of 4 files, 4 were there already" in again.stdout) == (0, True)
    replaced = run("nowcast.ingest", "--overwrite", "--input", files[3], "--output", output)
    assert replaced.returncode == 0
    assert xr.open_zarr(output).sizes["time"] == 1


def test_frames_out_of_order_are_told_and_sorted(rain: xr.Dataset, tmp_path: Path) -> None:
    later, earlier = tmp_path / "1.nc", tmp_path / "2.nc"
    write_archive(rain.isel(time=[3, 4]), later)
    write_archive(rain.isel(time=[0, 1]), earlier)
    got = run("nowcast.ingest", "--input", tmp_path / "*.nc", "--output", tmp_path / "a.zarr")
    assert "4 frames of 2 files, 2 came out of the order of time and were sorted in" in got.stdout
    assert np.array_equal(xr.open_zarr(tmp_path / "a.zarr").time, rain.time[[0, 1, 3, 4]])


def test_an_unfinished_ingest_is_told_and_gone_on_with(rain: xr.Dataset, tmp_path: Path) -> None:
    files, output = write_frames(rain, tmp_path / "files", range(3)), tmp_path / "a.nc"
    files[2].write_bytes(b"")
    arguments = "--input", tmp_path / "files", "--output", output, "--on_error", "stop"
    stopped = run("nowcast.ingest", *arguments)
    assert stopped.returncode == 2
    assert "frame_002.nc: is empty (2 frames are kept, --resume goes on)" in stopped.stderr
    refused = run("nowcast.ingest", *arguments)
    assert "begun and not finished; --resume goes on, --overwrite begins anew" in refused.stderr
    write_frames(rain, tmp_path / "files", [2])
    resumed = run("nowcast.ingest", *arguments, "--resume")
    assert (resumed.returncode, "3 frames of 3 files" in resumed.stdout) == (0, True)


MISTAKES = {
    "no such files": (["--input", "nowhere/**"], "nowhere/** names no file"),
    "an unknown format": (["--format", "knmi_hdf"], "did you mean knmi_hdf5"),
    "an unknown option": (["--format", "radolan", "--options", '{"zr_c": 1}'], "has no option 'zr_c'"),
    "options of no format": (["--options", '{"zr_a": 1}'], "name it with --format"),
    "another ending": (["--output", "a.tif"], "must end in .nc or .zarr"),
    "two wishes": (["--append", "--resume"], "--append and --resume exclude each other"),
    "no such scheduler": (["--dask", "somewhere"], "no dask scheduler answers at somewhere"),
    "no process": (["--jobs", "0"], "--jobs is above 0, not 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line(archive_path: Path, tmp_path: Path, mistake: str) -> None:
    arguments, said = MISTAKES[mistake]
    got = run("nowcast.ingest", "--input", archive_path, "--output", tmp_path / "a.zarr", *arguments)
    assert got.returncode == 2
    assert said in got.stderr
    assert len([line for line in got.stderr.strip().splitlines() if line.startswith("error")]) == 1
    assert list(tmp_path.iterdir()) == []
