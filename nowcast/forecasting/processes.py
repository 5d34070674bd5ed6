"""Batches of forecasts shared out among processes: of this machine by Lightning, of a cluster by dask."""

import os
import uuid
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Lock
from typing import Protocol

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive
from nowcast.data.forecast_output import ForecastOutput
from nowcast.data.remote import below
from nowcast.data.workers import spread, worker_number
from nowcast.forecasting.batches import Frames, write_batch
from nowcast.forecasting.predicting import ProcessLost, predicted
from nowcast.forecasting.wanted import Wanted, forecast_fields

KEPT = "what is written is kept, and --resume goes on, with fewer --jobs if need be"
_ONE_AT_A_TIME = Lock()  # the libraries beneath files are not safe in two threads, which workers of a cluster may have


class Maker(Protocol, Hashable):
    """Makes the forecaster in every process that forecasts; can be pickled, and equal ones make the same."""

    def make(self, archive: Archive, step_minutes: float, worker: int) -> Forecaster:
        """The forecaster for an archive, in the process of the worker of this number."""
        ...


@dataclass(frozen=True)
class Processes:
    """Processes that forecast instead of this one, each with a forecaster of its own.

    Args:
        maker: of the forecaster.
        jobs: processes of this machine, which share its processors, run by Lightning's predict loop.
        scheduler: address of a dask scheduler instead, whose workers see all files by the same paths.
    """

    maker: Maker
    jobs: int = 1
    scheduler: str | None = None

    @property
    def threads(self) -> int | None:
        """Of a process; those of a cluster are its own matter."""
        return None if self.scheduler else max(len(os.sched_getaffinity(0)) // self.jobs, 1)


class Task:
    """All that a process must know to forecast any batch of a run by itself."""

    def __init__(
        self, archive: Archive, store: ForecastOutput, steps: int, step_minutes: float, wanted: Wanted
    ) -> None:
        if archive.grid.crs is not None:
            archive.grid.crs.load()
        self.paths = tuple(below(os.getcwd(), path) for path in archive.paths)
        self.store, self.steps, self.step_minutes, self.wanted = store, steps, step_minutes, wanted
        self.run = uuid.uuid4().hex  # workers of a cluster outlive a run, and what they keep of it must not


def shared_out(processes: Processes, task: Task, starts: np.ndarray, batches: Sequence[range]) -> Iterator[range]:
    """Yield each batch when a process has written it.

    Args:
        processes: that forecast.
        task: what they all know.
        starts: (number, T_in) frame indices.
        batches: numbers of forecasts that are made together.

    Raises:
        InputError: as a process says, or when one was lost.
    """
    work = partial(_forecast_batch, processes.maker, processes.threads, task)
    pieces = [(batch, starts[batch]) for batch in batches]
    if processes.scheduler is None:
        try:
            for batch, _ in predicted(work, pieces, processes.jobs):
                yield batch
        except ProcessLost as error:
            raise InputError(f"{error}; {KEPT}") from error
        return

    def lost(piece: tuple[range, np.ndarray]) -> None:
        times = " to ".join(str(task.store.init_times[number]) for number in (piece[0][0], piece[0][-1]))
        raise InputError(f"the process that forecast from {times} was ended twice, perhaps for want of memory; {KEPT}")

    for (batch, _), _ in spread(work, pieces, lost, scheduler=processes.scheduler):
        yield batch


def _forecast_batch(
    maker: Maker, threads: int | None, task: Task, piece: tuple[range, np.ndarray], worker: int | None = None
) -> None:
    """Read, forecast and write a batch, in the process of a worker of this number, which dask tells else."""
    batch, rows = piece
    with _ONE_AT_A_TIME:
        worker = worker_number() if worker is None else worker
        forecaster, frames = _ready(maker, threads, worker, task.paths, task.step_minutes, task.run)
        write_batch(task.store, batch, forecast_fields(forecaster, frames.pasts(rows), task.steps, task.wanted))


@lru_cache(maxsize=1)
def _ready(
    maker: Maker, threads: int | None, worker: int, paths: tuple[str, ...], step_minutes: float, run: str
) -> "tuple[Forecaster, Frames]":
    """What a process needs for all batches of a run, made at its first."""
    if threads:
        torch.set_num_threads(threads)
    archive = Archive(paths)
    return maker.make(archive, step_minutes, worker), Frames(archive)
