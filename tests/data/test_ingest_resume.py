"""An ingest may be killed anywhere: another goes on, reads no file twice, and the archive is the same to the byte."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import write_archive
from nowcast.data.archive_writer import ArchiveWriter
from nowcast.data.ingest import Existing, ingest
from nowcast.data.intake import Recipe
from nowcast.data.journal import Entry, Journal
from nowcast.data.quality import QualityControl
from nowcast.data.unfinished import locked, unfinished_folder
from tests.data.interrupted import dying
from tests.data.test_ingest import agrees, contents, write_frames

DEADLY: dict[str, tuple[Any, str]] = {
    "replace": (os, "replace"),
    "link": (os, "link"),
    "remove": (shutil, "rmtree"),
    "note": (Journal, "add"),
}


def run(files: list[Path], output: Path, existing: Existing = "refuse", deadly: str = "", times: int = 0) -> int:
    """Exit code of a process that ingests, and is killed when it does something for the n-th time."""
    context = multiprocessing.get_context("forkserver")  # it imports once, then each process is a matter of moments
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_ingest, args=(files, output, existing, deadly, times))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def _ingest(files: list[Path], output: Path, existing: Existing, deadly: str, times: int) -> None:
    if deadly == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (times, times))
    elif deadly:
        owner, name = DEADLY[deadly]
        setattr(owner, name, dying(getattr(owner, name), times))
    try:
        ingest(files, output, existing=existing)
    except InputError as error:
        raise SystemExit(2) from error


@pytest.fixture(scope="module")
def files(rain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Frames out of the order of time, one file of several, and one that is damaged."""
    folder = tmp_path_factory.mktemp("files")
    paths = write_frames(rain, folder, [1, 0, 5, 2])
    write_archive(rain.isel(time=slice(6, 9)), folder / "several.nc")
    (folder / "damaged.nc").write_bytes(paths[0].read_bytes()[:3000])
    return [*paths[:2], folder / "damaged.nc", paths[2], folder / "several.nc", paths[3]]


def read_twice(files: list[Path], journal: list[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Files of a journal that an ingest opens nevertheless; filled as it runs."""
    again: set[str] = set()
    reader = Recipe.reader

    def watched(self: Recipe, path: Path) -> Any:
        if str(path) in journal:
            again.add(str(path))
        return reader(self, path)

    monkeypatch.setattr(Recipe, "reader", watched)
    return again


KILLS = [("note", 1), ("note", 4), ("replace", 3), ("replace", 21), ("link", 2), ("link", 12), ("remove", 2)]


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
@pytest.mark.parametrize(("deadly", "times"), KILLS)
def test_a_killed_ingest_goes_on_to_the_same_archive(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, deadly: str, times: int
) -> None:
    (tmp_path / "whole").mkdir()
    expected = ingest(files, tmp_path / "whole" / name)
    assert run(files, tmp_path / name, deadly=deadly, times=times) == -signal.SIGKILL
    lines = (unfinished_folder(tmp_path / name) / "journal").read_text().splitlines()[1:]
    done = [json.loads(line)["file"] for line in lines]
    with pytest.raises(InputError, match="begun and not finished; --resume goes on"):
        ingest(files, tmp_path / name)
    again = read_twice(files, done, monkeypatch)
    report = ingest(files, tmp_path / name, existing="resume")
    assert report == expected
    assert not again or not any(json.loads(line)["times"] for line in lines)  # of no use without a frame
    one, other = tmp_path / name, tmp_path / "whole" / name
    assert one.read_bytes() == other.read_bytes() if one.is_file() else contents(one) == contents(other)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "whole"])


@pytest.mark.parametrize(("deadly", "times"), [("note", 1), ("note", 3), ("replace", 12), ("link", 9), ("link", 30)])
def test_a_killed_append_leaves_the_archive_until_it_is_gone_on_with(
    rain: xr.Dataset, files: list[Path], tmp_path: Path, deadly: str, times: int
) -> None:
    output = tmp_path / "a.zarr"
    ingest(write_frames(rain, tmp_path / "before", [3, 4]), output)
    before = contents(output)
    assert run(files, output, "append", deadly, times) == -signal.SIGKILL
    assert contents(output) == before
    report = ingest(files, output, existing="resume")
    assert (report.written, report.present, len(report.skipped)) == (7, 0, 1)
    assert agrees(output, rain.isel(time=slice(9)))


def test_killed_between_the_old_archive_and_the_new_nothing_is_lost(
    rain: xr.Dataset, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, replace = tmp_path / "a.zarr", os.replace
    ingest(write_frames(rain, tmp_path / "before", [3, 4]), output)

    def stop_between(source: Path, target: Path) -> None:
        if Path(target) == output:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_between)
        with pytest.raises(KeyboardInterrupt):
            ingest(files, output, existing="append")
    assert not output.exists()
    ingest(files, output, existing="resume")
    assert agrees(output, rain.isel(time=slice(9)))


def test_resuming_what_is_finished_or_was_never_begun_does_no_harm(
    rain: xr.Dataset, files: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "a.zarr"
    first = ingest(files, output, existing="resume")
    before = contents(output)
    second = ingest(files, output, existing="resume")
    assert (first.written, second.written, second.present) == (7, 0, 7)
    assert first.skipped == second.skipped
    assert contents(output) == before


def test_an_ingest_is_resumed_with_its_own_options_only_and_may_be_thrown_away(
    rain: xr.Dataset, files: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "a.zarr"
    assert run(files, output, deadly="note", times=4) == -signal.SIGKILL
    clipped = Recipe(quality=QualityControl(clip=5))
    with pytest.raises(InputError, match="begun with other options"):
        ingest(files, output, clipped, existing="resume")
    assert ingest(files[:1], output, clipped, existing="overwrite").written == 1
    assert sorted(os.listdir(tmp_path)) == ["a.zarr"]


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_full_disk_is_told_and_gone_on_with(rain: xr.Dataset, files: list[Path], tmp_path: Path, name: str) -> None:
    assert run(files, tmp_path / name, deadly="full", times=2500) == 2
    assert not (tmp_path / name).exists()
    report = ingest(files, tmp_path / name, existing="resume")
    assert (report.written, len(report.skipped)) == (7, 1)
    assert agrees(tmp_path / name, rain.isel(time=[0, 1, 2, 5, 6, 7, 8]))


def test_a_full_disk_keeps_what_was_read(
    rain: xr.Dataset, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, add = tmp_path / "a.zarr", ArchiveWriter.add

    def add_until_full(self: ArchiveWriter, *arguments: Any) -> None:
        if len(self.times) == 3:
            raise OSError(errno.ENOSPC, "no space left on device")
        add(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveWriter, "add", add_until_full)
        with pytest.raises(InputError, match=r"a\.zarr cannot be written .*--resume goes on"):
            ingest(files, output)
    assert os.listdir(tmp_path) == [".a.zarr.unfinished"]
    again = read_twice(files, [str(path) for path in files[:4]], monkeypatch)
    assert ingest(files, output, existing="resume").written == 7
    assert not again


def test_two_ingests_of_one_output_do_not_mix(files: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "a.zarr"
    with (
        locked(unfinished_folder(output), output),
        pytest.raises(InputError, match=r"another process is writing .*a\.zarr"),
    ):
        ingest(files, output, existing="overwrite")


def test_a_line_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.read() is None
    journal.begin({"kept": []})
    entries = [Entry("/a", [5, 3]), Entry("/b", refused=["is empty"])]
    for entry in entries:
        journal.add(entry)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"file": "/c", "ti')
    assert journal.read() == ({"kept": []}, entries)
    journal.add(Entry("/c", present=2))
    assert journal.read() == ({"kept": []}, [*entries, Entry("/c", present=2)])
    journal.path.write_bytes(whole[:5])
    assert journal.read() is None
