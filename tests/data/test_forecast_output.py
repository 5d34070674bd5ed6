"""Outputs of forecasts: the same whatever stops a run, refused where they stand in the way, never half there."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.data.forecast_layout import Layout
from nowcast.forecasting import forecast_archive, open_output, possible_starts
from tests.data.interrupted import NUMBER, forecast, interrupted

KINDS = ["f.nc", "f.zarr", "f/"]


def content(path: Path) -> dict[str, bytes]:
    """All files under a path, by name."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    forecast(archive_path, f"{folder}/{request.param}")
    return folder / request.param


def same_ending(folder: Path, whole: Path) -> str:
    return f"{folder}/{whole.name}" + ("/" if whole.suffix == "" else "")


# Within the second batch, at its renames, while the output is put together, and while the hidden folder is removed.
DEATHS = {
    "f.nc": [("pack", 6), ("replace", 3), ("append", 7), ("replace", 12), ("tidy", 1)],
    "f.zarr": [("pack", 6), ("replace", 11), ("tidy", 1)],
    "f": [("pack", 6), ("replace", 3), ("append", 7), ("tidy", 1)],
}


def test_a_killed_run_goes_on_to_the_same_bytes(whole: Path, archive_path: Path, tmp_path: Path) -> None:
    for number, (deadly, times) in enumerate(DEATHS[whole.name]):
        folder = tmp_path / str(number)
        output = same_ending(folder, whole)
        assert interrupted(archive_path, output, deadly, times)[0] == -9
        assert (folder / f".{whole.name}.unfinished").exists()
        if whole.suffix and deadly != "tidy":
            assert not Path(output).exists()
        forecast(archive_path, output, "resume")
        assert content(Path(output)) == content(whole), deadly
        assert os.listdir(folder) == [whole.name]


class Counting(type(baselines.create("persistence"))):  # type: ignore[misc]
    """Persistence that says when it is called, and is stopped once, at its fourth batch."""

    def __init__(self) -> None:
        self.calls = 0

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        self.calls += 1
        if self.calls == 4:
            raise KeyboardInterrupt
        return super().forecast(past, steps)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_forecasts_only_what_is_missing(archive_path: Path, tmp_path: Path, kind: str) -> None:
    """Stopped in the fourth of five batches, when the third may or may not be written."""
    archive, forecaster = Archive.open(archive_path), Counting()
    starts = possible_starts(archive, 1, 5)[:NUMBER]
    with pytest.raises(KeyboardInterrupt):
        forecast_archive(forecaster, archive, f"{tmp_path}/{kind}", starts, 3, 5, 2, existing="refuse")
    forecast_archive(forecaster, archive, f"{tmp_path}/{kind}", starts, 3, 5, 2, existing="resume")
    assert forecaster.calls in (4 + 2, 4 + 3)
    assert ForecastFile.open(tmp_path / kind).init_times.size == NUMBER


def test_every_output_reads_the_same(archive_path: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        forecast(archive_path, f"{tmp_path}/{kind}")
    files = [ForecastFile.open(tmp_path / kind) for kind in KINDS]
    for file in files:
        assert (file.init_times == files[0].init_times).all()
        assert file.lead_times_s.tolist() == [300, 600, 900]
        assert file.grid.same(files[0].grid)
        assert file.grid.crs is not None
        assert file.grid.crs.attrs == files[0].grid.crs.attrs  # type: ignore[union-attr]
        for number in (0, 7):
            np.testing.assert_array_equal(file.read(number), files[0].read(number))
    one, store = xr.open_dataset(tmp_path / "f.nc"), xr.open_dataset(tmp_path / "f.zarr", engine="zarr")
    xr.testing.assert_identical(one, store.load())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_touched_only_when_told(archive_path: Path, tmp_path: Path, kind: str) -> None:
    output = f"{tmp_path}/{kind}"
    forecast(archive_path, output, steps=2)
    before = content(Path(output))
    with pytest.raises(InputError, match="exists; --overwrite replaces it"):
        forecast(archive_path, output)
    assert content(Path(output)) == before
    forecast(archive_path, output, "resume", steps=2)
    assert content(Path(output)) == before
    forecast(archive_path, output, "overwrite", steps=3)
    assert ForecastFile.open(output).lead_times_s.size == 3
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["f.nc", "f.zarr"])
def test_a_finished_output_of_other_forecasts_is_not_resumed(archive_path: Path, tmp_path: Path, kind: str) -> None:
    forecast(archive_path, f"{tmp_path}/{kind}", steps=2)
    with pytest.raises(InputError, match="is finished and holds other forecasts"):
        forecast(archive_path, f"{tmp_path}/{kind}", "resume", steps=3)


def test_a_folder_takes_further_initial_times_and_keeps_other_files(archive_path: Path, tmp_path: Path) -> None:
    archive, persistence = Archive.open(archive_path), baselines.create("persistence")
    starts = possible_starts(archive, 1, 5)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "notes.txt").write_text("mine")
    forecast_archive(persistence, archive, tmp_path / "f", starts[:3], 2, 5, existing="refuse")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "f").iterdir()}
    forecast_archive(persistence, archive, tmp_path / "f", starts[:5], 2, 5, existing="resume")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert sorted(path.name for path in (tmp_path / "f").glob("*.nc"))[0] == "20200601T120000Z.nc"
    assert ForecastFile.open(tmp_path / "f").init_times.size == 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfinished_run_is_resumed_with_the_same_options_only(archive_path: Path, tmp_path: Path, kind: str) -> None:
    output = f"{tmp_path}/{kind}"
    assert interrupted(archive_path, output, "pack", 6)[0] == -9
    if kind != "f/":
        with pytest.raises(InputError, match="was begun and not finished; --resume goes on, --overwrite begins anew"):
            forecast(archive_path, output)
    with pytest.raises(InputError, match="was begun with other batch size than this run's"):
        forecast(archive_path, output, "resume", batch_size=1)
    with pytest.raises(InputError, match="was begun with other fields, lead times than"):
        forecast(archive_path, output, "resume", steps=2)
    forecast(archive_path, output, "overwrite", steps=2)
    assert ForecastFile.open(output).lead_times_s.size == 2


def test_two_processes_do_not_write_one_output(archive_path: Path, tmp_path: Path) -> None:
    archive = Archive.open(archive_path)
    layout = Layout(archive.grid, [300], {})
    first, second = (open_output(tmp_path / "f.nc", layout, archive.times[:2]) for _ in range(2))
    with (
        pytest.raises(InputError, match="another process is writing"),
        first.opened("refuse"),
        second.opened("overwrite"),
    ):
        raise AssertionError("both write")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    archive_path: Path, tmp_path: Path, kind: str
) -> None:
    """A limit on the size of files makes writes fail as a full disk does."""
    output = f"{tmp_path}/{kind}"
    room = {"f.nc": 60_000, "f.zarr": 700, "f/": 8_000}[kind]
    code, said = interrupted(archive_path, output, room=room)
    assert code == 2
    assert "make room on the disk, then --resume goes on" in said
    assert not Path(output).is_file()
    forecast(archive_path, output, "resume")
    forecast(archive_path, f"{tmp_path}/other/{kind}")
    assert content(Path(output)) == content(tmp_path / "other" / kind)
