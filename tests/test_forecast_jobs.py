"""Forecasts shared out among processes: the same bytes, whoever makes them and whatever stops them."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive
from nowcast.data.workers import SETTINGS
from nowcast.forecasting import Processes, forecast_archive, possible_starts
from nowcast.sources import Source, cuda_devices
from tests.data.test_forecast_output import KINDS, content
from tests.programs import ROOT, run
from tests.test_forecasting import tiny_network

ROOM = 400  # bytes of a file


@dataclass(frozen=True)
class Maker:
    """Makes a network, or a forecaster that ends its process in a certain way at a certain time.

    Args:
        folder: where each process that makes one leaves a file.
        deadly: whether the forecast from the fourth past ends the process: never, once, always; or its disk is full.
    """

    folder: Path
    deadly: str = "never"

    def make(self, archive: Archive, step_minutes: float, worker: int) -> Forecaster:
        (self.folder / f"{worker}-{os.getpid()}-{len(os.listdir(self.folder))}").touch()
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM if self.deadly == "full" else hard, hard))
        return Deadly(self.folder, self.deadly) if self.deadly != "never" else tiny_network()


class Deadly(Forecaster):
    """Persistence, to which its process ends at a certain past."""

    name, past_frames = "deadly", 3

    def __init__(self, folder: Path, when: str) -> None:
        self.folder, self.when = folder, when

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        if self.when in ("never", "full"):
            return past[:, -1:].repeat(1, steps, 1, 1, 1)
        fourth = np.array_equal(past[-1, -1, 0].numpy(), np.load(self.folder.parent / "fourth.npy"), equal_nan=True)
        if fourth and (self.when == "always" or not (self.folder.parent / "died").exists()):
            (self.folder.parent / "died").touch()
            os._exit(1)
        return past[:, -1:].repeat(1, steps, 1, 1, 1)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a dask cluster of two processes of two threads."""
    import dask
    from distributed import LocalCluster

    with dask.config.set(SETTINGS), LocalCluster(2, threads_per_worker=2, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def forecast(
    archive_path: Path, output: str, processes: Processes | None, forecaster: Forecaster | None = None, **options: Any
) -> None:
    archive, forecaster = Archive.open(archive_path), forecaster or tiny_network()
    starts = possible_starts(archive, 3, 5)[:7]
    forecast_archive(forecaster, archive, output, starts, 2, 5, 2, processes=processes, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_makes_the_bytes_of_one_process(
    archive_path: Path, tmp_path: Path, kind: str, scheduler: str
) -> None:
    done: list[tuple[int, int]] = []
    for name in ("one", "many"):
        (tmp_path / name / "made").mkdir(parents=True)
        processes = Processes(Maker(tmp_path / name / "made"), 1, scheduler) if name == "many" else None
        report = lambda *numbers: done.append(numbers)  # noqa: E731
        forecast(archive_path, f"{tmp_path}/{name}/{kind}", processes, progress=report)
    assert content(tmp_path / "many" / kind) == content(tmp_path / "one" / kind)
    assert done == [(0, 7), (2, 7), (4, 7), (6, 7), (7, 7)] * 2
    made = [name.split("-")[1] for name in os.listdir(tmp_path / "many" / "made")]
    assert 1 <= len(made) == len(set(made)) <= 2  # the network is made once in each process
    assert os.listdir(tmp_path / "one" / "made") == []
    assert sorted(os.listdir(tmp_path / "many")) == sorted([kind.rstrip("/"), "made"])


def test_processes_of_lightning_make_the_bytes_of_one(archive_path: Path, tmp_path: Path) -> None:
    made, done = tmp_path / "many" / "made", []
    made.mkdir(parents=True)
    report = lambda *numbers: done.append(numbers)  # noqa: E731
    forecast(archive_path, f"{tmp_path}/one/f.nc", None)
    forecast(archive_path, f"{tmp_path}/many/f.nc", Processes(Maker(made), 2), progress=report)
    assert content(tmp_path / "many" / "f.nc") == content(tmp_path / "one" / "f.nc")
    assert done[0] == (0, 7)
    assert done[-1] == (7, 7)
    assert len(done) == 5
    workers, ids, _ = zip(*(name.split("-") for name in sorted(os.listdir(made))), strict=True)
    assert workers == ("0", "1")
    assert len({*ids, str(os.getpid())}) == 3
    assert sorted(os.listdir(tmp_path / "many")) == ["f.nc", "made"]


@pytest.mark.parametrize(("when", "said"), [("once", "exit code 1.*is kept.*--resume"), ("full", "make room")])
def test_a_process_of_lightning_that_ends_is_told_and_the_run_resumed(
    archive_path: Path, tmp_path: Path, when: str, said: str
) -> None:
    processes, forecaster = deadly(archive_path, tmp_path, when, None)
    with pytest.raises(InputError, match=said):
        forecast(archive_path, f"{tmp_path}/f.nc", replace(processes, jobs=2), forecaster)
    forecast(archive_path, f"{tmp_path}/f.nc", None, forecaster, existing="resume")
    forecast(archive_path, f"{tmp_path}/whole.nc", None, forecaster)
    assert content(tmp_path / "f.nc") == content(tmp_path / "whole.nc")


def deadly(archive_path: Path, folder: Path, when: str, scheduler: str | None) -> tuple[Processes, Forecaster]:
    (folder / "made").mkdir()
    np.save(folder / "fourth.npy", Archive.open(archive_path).read(5))
    return Processes(Maker(folder / "made", when), 1, scheduler), Deadly(folder / "made", "never")


def test_a_batch_whose_process_ends_is_made_by_another(archive_path: Path, tmp_path: Path, scheduler: str) -> None:
    processes, forecaster = deadly(archive_path, tmp_path, "once", scheduler)
    forecast(archive_path, f"{tmp_path}/f/", processes, forecaster)
    assert (tmp_path / "died").exists()
    assert len(list((tmp_path / "f").glob("*.nc"))) == 7


def test_a_batch_that_ends_every_process_is_told_and_the_others_are_kept(
    archive_path: Path, tmp_path: Path, scheduler: str
) -> None:
    processes, forecaster = deadly(archive_path, tmp_path, "always", scheduler)
    with pytest.raises(InputError, match=r"from 2020-06-01T12:20.* to 2020-06-01T12:25.* was ended twice.*--resume"):
        forecast(archive_path, f"{tmp_path}/f.nc", processes, forecaster)
    kept: list[int] = []
    report = lambda done, total: kept.append(done)  # noqa: E731
    forecast(archive_path, f"{tmp_path}/f.nc", None, forecaster, existing="resume", progress=report)
    assert kept[0] >= 2
    forecast(archive_path, f"{tmp_path}/whole.nc", None, forecaster)
    assert content(tmp_path / "f.nc") == content(tmp_path / "whole.nc")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_in_a_process_is_told(archive_path: Path, tmp_path: Path, kind: str, scheduler: str) -> None:
    """A limit on the size of files makes writes fail as a full disk does."""
    processes, forecaster = deadly(archive_path, tmp_path, "full", scheduler)
    with pytest.raises(InputError, match="make room on the disk, then --resume goes on"):
        forecast(archive_path, f"{tmp_path}/{kind}", processes, forecaster)
    forecast(archive_path, f"{tmp_path}/{kind}", None, forecaster, existing="resume")
    forecast(archive_path, f"{tmp_path}/whole/{kind}", None, forecaster)
    assert content(tmp_path / kind) == content(tmp_path / "whole" / kind)


def test_a_killed_run_of_processes_is_resumed_by_others(archive_path: Path, tmp_path: Path) -> None:
    words = ["--baseline", "steps", "--input", archive_path, "--minutes", 10, "--devices", 0]
    chosen = Archive.open(archive_path).times[4:12].astype("datetime64[m]").astype(str)
    words += ["--init", ",".join(chosen), "--output", f"{tmp_path}/f/"]
    command = [sys.executable, "-m", "nowcast.forecast", *map(str, words), "--jobs", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waiting = time.monotonic()
    while len(list((tmp_path / "f").glob("*.nc"))) < 3:
        assert process.poll() is None
        assert time.monotonic() - waiting < 100
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert (tmp_path / ".f.unfinished").exists()
    got = run("nowcast.forecast", *words, "--resume")
    assert got.returncode == 0, got.stderr
    assert run("nowcast.forecast", *words[:-1], f"{tmp_path}/g/").returncode == 0
    assert content(tmp_path / "f") == content(tmp_path / "g")
    assert sorted(os.listdir(tmp_path)) == ["f", "g"]


def test_workers_take_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    asked: list[str] = []
    monkeypatch.setattr(
        "nowcast.sources.Trained.load", lambda path, device, product: asked.append(device) or tiny_network()
    )
    source = Source("best.ckpt", devices=cuda_devices("auto"))
    for worker in range(4):
        source.load(worker)
    assert asked == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    with pytest.raises(InputError, match="there are 3 CUDA devices"):
        cuda_devices("4")
    with pytest.raises(InputError, match="auto or a number"):
        cuda_devices("gpu")
