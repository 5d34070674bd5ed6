"""From a folder of a weather service's files to one archive: what cannot be used is named and left out, or stops it."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, Archive
from nowcast.data.archive_writer import ArchiveWriter
from nowcast.data.intake import Recipe, Refused, Taken, take_files
from nowcast.data.journal import Entry, Journal
from nowcast.data.places import same_place, usual_grid
from nowcast.data.unfinished import locked, told_when_full, unfinished_folder

VOTERS = 5  # frames that say which grid is the usual one, so that an odd file at the start does not refuse all others

ATTRS = {"title": "Radar rain rate", "history": "made by nowcast.ingest"}
Existing = Literal["refuse", "append", "overwrite", "resume"]


@dataclass
class Report:
    """What came of an ingest.

    Args:
        written: frames that are new in the archive.
        present: frames of times that it had already, which it keeps as they are.
        disordered: frames that came after a later one, and were sorted in.
        skipped: all that was refused.
    """

    written: int = 0
    present: int = 0
    disordered: int = 0
    skipped: list[Refused] = field(default_factory=list)


def ingest(
    files: Sequence[Path],
    output: str | os.PathLike,
    recipe: Recipe | None = None,
    existing: Existing = "refuse",
    on_error: Literal["skip", "stop"] = "skip",
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write an archive of the frames of files; it appears under its name when all are read.

    Args:
        files: as `find_files` gives them.
        output: ends in .nc or .zarr.
        recipe: how files are read.
        existing: what becomes of an archive or an unfinished ingest that is there: refuse to touch it, append to the
            archive, replace it, or go on with the ingest.
        on_error: leave out what cannot be used, or raise at the first.
        jobs: processes that read.
        scheduler: address of a dask scheduler, whose workers read instead.
        progress: called with the number of files done and of all.

    Raises:
        InputError: when no frame can be used, the disk is full, a package is missing, there is something that is not to
            be touched or cannot be taken up, or, with stop, at a bad file.
    """
    run = _Ingest(Path(output), recipe or Recipe(), on_error)
    run.look(existing)
    with told_when_full(run.output), locked(run.folder, run.output):
        try:
            run.start(existing)
            with closing(run.read(files, jobs, scheduler, progress)) as stream:
                run.fill(run.on_the_usual_grid(stream))
            run.finish()
        finally:
            run.tidy()
    return run.report


class _Ingest:
    """What an ingest is made of, and what it knows of the frames so far."""

    def __init__(self, output: Path, recipe: Recipe, on_error: Literal["skip", "stop"]) -> None:
        self.output, self.on_error, self.clutter = output, on_error, recipe.quality.clutter
        self.recipe, self.folder = recipe, unfinished_folder(output)
        self.writer = ArchiveWriter(output, self.folder)
        self.journal = Journal(self.folder / "journal")
        self.report = Report()
        self.kept: list[np.datetime64] = []  # times of the archive that is appended to
        self.done: set[str] = set()  # files that an ingest before this one has finished
        self.source: dict[np.datetime64, str] = {}  # of new frames
        self.before: tuple[str, np.ndarray] | None = None  # the frame taken last
        self.known = False  # whether the journal is this ingest's

    def look(self, existing: Existing) -> None:
        """Refuse what may not be touched."""
        begun = self.journal.path.exists()
        if existing in ("refuse", "append") and begun:
            raise InputError(f"{self.output} was begun and not finished; --resume goes on, --overwrite begins anew")
        if existing == "refuse" and self.output.exists():
            raise InputError(f"{self.output} exists; --append adds to it, --overwrite replaces it")

    def start(self, existing: Existing) -> None:
        """Begin anew, with the frames of the archive that is there, or where another ingest was stopped."""
        about = json.loads(json.dumps(asdict(self.recipe), default=str))
        found = self.journal.read() if existing == "resume" else None
        if found and found[0]["recipe"] != about:
            raise InputError(f"{self.output} was begun with other options; give --resume the same, or --overwrite")
        self.known = True
        # without a store the one thing left to do was to remove the folder, and the archive is as good as any
        if found and self.writer.stage.exists() and (found[0]["kept"] or any(entry.times for entry in found[1])):
            self._take_up(found[0]["kept"], found[1])
            return
        self.journal.path.unlink(missing_ok=True)  # first: without it nothing in the folder is trusted
        for item in self.folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
        if existing in ("append", "resume") and self.output.exists():
            archive = Archive.open(self.output)
            self.writer.extend(archive)
            archive.close()
        self.kept = list(self.writer.times)
        self.journal.begin({"recipe": about, "kept": _as_seconds(self.kept)})

    def _take_up(self, kept: Sequence[int], entries: Sequence[Entry]) -> None:
        self.kept = _as_times(kept)
        for entry in entries:
            self.done.add(entry.file)
            self.report.written += len(entry.times)
            self.report.present += entry.present
            self.report.skipped += [Refused(Path(entry.file), reason) for reason in entry.refused]
            self.source |= dict.fromkeys(_as_times(entry.times), entry.file)
        self.writer.resume([*self.kept, *self.source])
        if self.source:
            self.before = next(reversed(self.source.values())), self.writer.frame(len(self.writer.times) - 1)

    def read(
        self, files: Sequence[Path], jobs: int, scheduler: str | None, progress: Callable[[int, int], None]
    ) -> Generator[tuple[Path, Iterator[Taken | Refused]], None, None]:
        """Files that are not done, each with what comes of it."""
        left = [path for path in files if os.path.abspath(path) not in self.done]
        progress(len(files) - len(left), len(files))
        for number, read in enumerate(take_files(left, self.recipe, jobs, scheduler), len(files) - len(left) + 1):
            yield read
            progress(number, len(files))

    def on_the_usual_grid(
        self, stream: Iterator[tuple[Path, Iterator[Taken | Refused]]]
    ) -> Iterator[tuple[Path, Iterator[Taken | Refused]]]:
        """The same, after the first frames have said which grid the archive has if that is not known."""
        read: list[tuple[Path, Iterator[Taken | Refused]]] = []
        seen: list[Taken | Refused] = []
        while self.writer.grid is None:
            path, items = next(stream, (None, iter(())))
            first = list(islice(items, VOTERS))
            seen += first
            taken = [item for item in seen if isinstance(item, Taken)]
            if path is not None:
                read.append((path, chain(first, items)))
            elif not taken:
                reasons = "; ".join(f"{bad.path}: {bad.reason}" for bad in seen[:3] if isinstance(bad, Refused))
                raise InputError(f"none of {len(read)} files can be used ({reasons or 'there are none'})")
            if path is None or len(taken) >= VOTERS:
                self.writer.begin(usual_grid([item.grid for item in taken]), {**ATTRS, **taken[0].attrs})
        return chain(read, stream)

    def fill(self, stream: Iterator[tuple[Path, Iterator[Taken | Refused]]]) -> None:
        """Write what fits, and note down what came of each file."""
        present = set(self.kept)
        for path, items in stream:
            entry = Entry(os.path.abspath(path))
            for item in items:
                if isinstance(item, Taken) and item.time in present and self._has_place(item):
                    entry.present += 1
                    self.report.present += 1
                elif reason := self._why_not(item):
                    self._refuse(item, reason, entry)
                elif isinstance(item, Taken):
                    self._add(item, entry)
            self.journal.add(entry)

    def finish(self) -> None:
        """Show the archive, if there is anything new."""
        times = np.array(self.writer.times)
        later = np.maximum.accumulate(times)[:-1] > times[1:]
        self.report.disordered = int(later[max(len(self.kept) - 1, 0) :].sum())
        if self.report.written:
            self.writer.finish(self.clutter)
        self.journal.path.unlink()

    def tidy(self) -> None:
        """Remove the hidden folder, unless there is something in it to go on with."""
        if not self.journal.path.exists() or (self.known and not self.report.written):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _why_not(self, item: Taken | Refused) -> str | None:
        """Why a frame cannot be used, or None."""
        if isinstance(item, Refused):
            return item.reason
        grid = self.writer.grid
        assert grid is not None
        if item.grid.shape != grid.shape:
            (height, width), (its_height, its_width) = grid.shape, item.grid.shape
            return f"has {its_height} × {its_width} pixels, the archive {height} × {width}"
        if not same_place(item.grid, grid):
            return "is on another grid or projection than the archive"
        if item.time in self.source:
            return f"has the time {item.time} of {self.source[item.time]}"
        wet = (item.packed > 0) & (item.packed != PACK_NODATA)
        if self.before is not None and wet.any() and np.array_equal(item.packed, self.before[1]):
            return f"repeats every pixel of {self.before[0]}"
        return None

    def _has_place(self, item: Taken) -> bool:
        return self.writer.grid is not None and same_place(item.grid, self.writer.grid)

    def _refuse(self, item: Taken | Refused, reason: str, entry: Entry) -> None:
        if self.on_error == "stop":
            kept = f" ({self.report.written} frames are kept, --resume goes on)" if self.report.written else ""
            raise InputError(f"{item.path}: {reason}{kept}")
        entry.refused.append(reason)
        self.report.skipped.append(Refused(item.path, reason))

    def _add(self, item: Taken, entry: Entry) -> None:
        self.writer.add(item.time, item.packed)
        entry.times += _as_seconds([item.time])
        self.source[item.time] = entry.file
        self.before = entry.file, item.packed
        self.report.written += 1


def _as_seconds(times: Sequence[np.datetime64]) -> list[int]:
    return [int(time.astype("datetime64[s]").astype(np.int64)) for time in times]


def _as_times(seconds: Sequence[int]) -> list[np.datetime64]:
    return [np.datetime64(second, "s") for second in seconds]
