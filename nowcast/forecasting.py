"""Forecasts of an archive: any forecaster, chosen initial times, streamed to an output that can be resumed."""

import os
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.data import forecast_layout as layouts
from nowcast.data import provenance
from nowcast.data.archive import Archive
from nowcast.data.forecast_images import FORMATS
from nowcast.data.forecast_layout import Layout
from nowcast.data.forecast_output import Existing, FileEach, ForecastOutput, SingleFile
from nowcast.data.forecast_zarr import ZarrStore
from nowcast.data.remote import below
from nowcast.data.windows import find_windows
from nowcast.data.workers import spread, worker_number
from nowcast.predicting import ProcessLost, predicted

KEPT = "what is written is kept, and --resume goes on, with fewer --jobs if need be"
_ONE_AT_A_TIME = Lock()  # the libraries beneath files are not safe in two threads, which workers of a cluster may have


@dataclass(frozen=True)
class Wanted:
    """What is written of each forecast beside the rain rate.

    Args:
        members: of an ensemble; 0 writes none.
        quantiles: levels between 0 and 1.
        probabilities: thresholds in mm/h to be reached.

    Raises:
        InputError: for numbers that are no such things, or do not rise.
    """

    members: int = 0
    quantiles: Sequence[float] = ()
    probabilities: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.members < 0:
            raise InputError(f"an ensemble has at least 1 member, not {self.members}")
        if not all(0 < level < 1 for level in self.quantiles):
            raise InputError(f"quantiles are levels between 0 and 1, such as 0.1 0.5 0.9, not {list(self.quantiles)}")
        if not all(threshold > 0 for threshold in self.probabilities):
            raise InputError(f"thresholds are rates above 0 mm/h, not {list(self.probabilities)}")
        for numbers in (self.quantiles, self.probabilities):
            if any(one >= following for one, following in pairwise(numbers)):
                raise InputError(f"quantiles and thresholds are named rising and once, not {list(numbers)}")

    def fields(self) -> list[layouts.Field]:
        """The variables, the rain rate first."""
        return [
            layouts.RATE,
            *([layouts.members(self.members)] if self.members else []),
            *([layouts.quantiles(self.quantiles)] if self.quantiles else []),
            *([layouts.probabilities(self.probabilities)] if self.probabilities else []),
        ]


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


def possible_starts(archive: Archive, past_frames: int, step_minutes: float) -> np.ndarray:
    """(number, past_frames) frame indices of every complete past in the archive, in the order of time.

    Raises:
        InputError: when the archive's step cannot serve this one, or it has no such run of frames.
    """
    pasts = find_windows(archive, past_frames, step_minutes)
    if not len(pasts):
        raise InputError(
            f"{archive.paths[0]} ({len(archive)} frames) has no {past_frames} frames in a row "
            f"{step_minutes:g} min apart"
        )
    return pasts


def choose_starts(archive: Archive, starts: np.ndarray, chosen: str) -> np.ndarray:
    """The rows of `starts` that end at the chosen times.

    Args:
        archive: of the frames.
        starts: as `possible_starts` gives them.
        chosen: "all", "last", or times like "2016-07-11T21:00,2016-07-11T22:00".

    Raises:
        InputError: for a text that is no time, or a time from which no forecast can be made.
    """
    if chosen == "all":
        return starts
    if chosen == "last":
        return starts[-1:]
    rows = []
    for text in chosen.split(","):
        try:
            time = np.datetime64(text.strip(), "ms")
        except ValueError as error:
            raise InputError(f"init {text!r} is neither all, last nor a time like 2016-07-11T21:00") from error
        row = np.flatnonzero(starts[:, -1] == archive.find(np.array([time]))[0])
        if not len(row):
            first, last = archive.times[starts[0, -1]], archive.times[starts[-1, -1]]
            raise InputError(
                f"no forecast can start at {text.strip()}: it needs a frame then and before; "
                f"from {first} to {last} there are"
            )
        rows.append(int(row[0]))
    return starts[sorted(set(rows))]


def forecast_archive(
    forecaster: Forecaster,
    archive: Archive,
    output: str | os.PathLike,
    starts: np.ndarray,
    steps: int,
    step_minutes: float,
    batch_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    existing: Existing = "overwrite",
    wanted: Wanted | None = None,
    processes: Processes | None = None,
    format: str | None = None,
) -> None:
    """Forecast from each start into one output, which appears when all of it is there.

    While a batch is forecast the next one is read and the last one written, so memory holds three whatever their
    number. A resumed run makes the same batches again, for a network's last digit may depend on its batch. Processes
    each read, forecast and write whole batches of their own, so they make the same bytes.

    Args:
        forecaster: makes the forecasts.
        archive: full frames of any size.
        output: path ending in .nc, .zarr, or / (a folder of one file an initial time).
        starts: (number, T_in) frame indices.
        steps: lead times.
        step_minutes: between lead times.
        batch_size: forecasts made at once.
        progress: called with the number of forecasts done and their total.
        existing: what becomes of an output that is there, finished or not.
        wanted: what is written beside the rain rate.
        processes: that forecast; None is this one.
        format: geotiff or odim, of files in a folder; None goes by the ending.

    Raises:
        InputError: where the output stands in the way, the disk is full, a process was lost, or the forecaster has not
            what is wanted.
    """
    wanted = wanted or Wanted()
    lead_times = [round(step_minutes * 60 * (k + 1)) for k in range(steps)]
    layout = Layout(archive.grid, lead_times, attributes(forecaster, archive), wanted.fields())
    store = open_output(output, layout, archive.times[starts[:, -1]], {"batch size": batch_size}, format)
    if existing == "resume" and store.is_complete():
        store.tidy()
        progress(len(starts), len(starts))
        return
    with store.opened(existing):
        batches = [range(first, min(first + batch_size, len(starts))) for first in range(0, len(starts), batch_size)]
        left = [batch for batch in batches if not all(map(store.has, batch))]
        done = len(starts) - sum(map(len, left))
        progress(done, len(starts))
        if processes is None:
            written = _pipelined(forecaster, archive, store, starts, steps, wanted, left)
        else:
            written = _shared_out(processes, _Task(archive, store, steps, step_minutes, wanted), starts, left)
        for batch in written:
            done += len(batch)
            progress(done, len(starts))


def open_output(
    path: str | os.PathLike,
    layout: Layout,
    init_times: np.ndarray,
    recipe: Mapping[str, Any] | None = None,
    format: str | None = None,
) -> ForecastOutput:
    """The output that a path asks for by its ending, or a folder of images of a format.

    Raises:
        InputError: for another ending or format.
    """
    name = os.fspath(path)
    kind: type[ForecastOutput]
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"--format is {' or '.join(FORMATS)}, not {format!r}")
        if not name.endswith("/"):
            raise InputError(f"--format {format} writes a file a lead time into a folder; end {name} with /")
        kind = FORMATS[format]
    elif name.endswith(".nc"):
        kind = SingleFile
    elif name.rstrip("/").endswith(".zarr"):
        kind = ZarrStore
    elif name.endswith("/") or os.path.isdir(name):
        kind = FileEach
    else:
        raise InputError(f"{name} must end in .nc (one file), .zarr, or / (a folder of one file an initial time)")
    return kind(path, layout, init_times, recipe)


def _pipelined(
    forecaster: Forecaster,
    archive: Archive,
    store: ForecastOutput,
    starts: np.ndarray,
    steps: int,
    wanted: Wanted,
    batches: Sequence[range],
) -> Iterator[range]:
    """Yield each batch when it is written.

    One thread reads and writes, for the libraries beneath are not safe in two. It reads a batch before it writes the
    one before it, so that forecasting never waits for a write.
    """
    with ThreadPoolExecutor(1, "files") as files:
        frames = _Frames(archive)
        reading: Future | None = files.submit(frames.pasts, starts[batches[0]]) if batches else None
        writing: Future | None = None
        try:
            for place, batch in enumerate(batches):
                assert reading is not None
                past = reading.result()
                following = batches[place + 1 : place + 2]
                reading = files.submit(frames.pasts, starts[following[0]]) if following else None
                fields = forecast_fields(forecaster, past, steps, wanted)
                if writing is not None:
                    yield writing.result()
                writing = files.submit(_write, store, batch, fields)
                del fields
            if writing is not None:
                yield writing.result()
        except BaseException:
            files.shutdown(cancel_futures=True)
            raise


class _Task:
    """All that a process must know to forecast any batch of a run by itself."""

    def __init__(
        self, archive: Archive, store: ForecastOutput, steps: int, step_minutes: float, wanted: Wanted
    ) -> None:
        if archive.grid.crs is not None:
            archive.grid.crs.load()
        self.paths = tuple(below(os.getcwd(), path) for path in archive.paths)
        self.store, self.steps, self.step_minutes, self.wanted = store, steps, step_minutes, wanted
        self.run = uuid.uuid4().hex  # workers of a cluster outlive a run, and what they keep of it must not


def _shared_out(processes: Processes, task: _Task, starts: np.ndarray, batches: Sequence[range]) -> Iterator[range]:
    """Yield each batch when a process has written it."""
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
    maker: Maker, threads: int | None, task: _Task, piece: tuple[range, np.ndarray], worker: int | None = None
) -> None:
    """Read, forecast and write a batch, in the process of a worker of this number, which dask tells else."""
    batch, rows = piece
    with _ONE_AT_A_TIME:
        worker = worker_number() if worker is None else worker
        forecaster, frames = _ready(maker, threads, worker, task.paths, task.step_minutes, task.run)
        _write(task.store, batch, forecast_fields(forecaster, frames.pasts(rows), task.steps, task.wanted))


@lru_cache(maxsize=1)
def _ready(
    maker: Maker, threads: int | None, worker: int, paths: tuple[str, ...], step_minutes: float, run: str
) -> "tuple[Forecaster, _Frames]":
    """What a process needs for all batches of a run, made at its first."""
    if threads:
        torch.set_num_threads(threads)
    archive = Archive(paths)
    return maker.make(archive, step_minutes, worker), _Frames(archive)


def _write(store: ForecastOutput, batch: range, fields: Mapping[str, np.ndarray]) -> range:
    for place, number in enumerate(batch):
        if not store.has(number):
            store.write(number, {name: values[place] for name, values in fields.items()})
    return batch


class _Frames:
    """Reads the frames of batches, and keeps those that the next one is likely to need again."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.kept: dict[int, np.ndarray] = {}

    def pasts(self, rows: np.ndarray) -> torch.Tensor:
        """(B, T_in) frame indices → (B, T_in, 1, H, W) mm/h."""
        wanted = np.unique(rows).tolist()
        self.kept = {index: self.kept[index] if index in self.kept else self.archive.read(index) for index in wanted}
        return torch.from_numpy(np.stack([np.stack([self.kept[i] for i in row]) for row in rows])).unsqueeze(2)


def forecast_fields(forecaster: Forecaster, past: torch.Tensor, steps: int, wanted: Wanted) -> dict[str, np.ndarray]:
    """What is wanted of a forecast, by name of the variable: (B, steps, …, H, W).

    Args:
        forecaster: makes it; the same past must make the same forecast.
        past: (B, T_in, 1, H, W) mm/h with NaN.
        steps: lead times.
        wanted: what beside the rain rate.
    """
    made = {layouts.RATE.name: forecaster.forecast(past, steps)}
    if wanted.members:
        ensemble = forecaster.ensemble(past, steps, wanted.members)
        made[layouts.members(wanted.members).name] = ensemble.transpose(1, 2)
    if wanted.quantiles:
        made[layouts.quantiles(wanted.quantiles).name] = forecaster.quantile(past, steps, wanted.quantiles)
    if wanted.probabilities:
        chance = forecaster.probability(past, steps, wanted.probabilities)
        made[layouts.probabilities(wanted.probabilities).name] = chance
    return {name: values.squeeze(-3).float().cpu().numpy() for name, values in made.items()}


def attributes(forecaster: Forecaster, archive: Archive) -> Mapping[str, Any]:
    """Global attributes of a forecast file: which model, from which checkpoint, of which observations."""
    return provenance.attributes(forecaster, [os.path.basename(path) for path in archive.paths], archive.attrs)
