"""From a folder of a weather service's files to one archive: what cannot be used is named and left out, or stops it."""

import errno
import glob
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pyproj import CRS, Transformer

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.archive import METRES_PER_DEGREE, PACK_NODATA, Archive, Grid, pack
from nowcast.data.archive_writer import ArchiveWriter
from nowcast.data.quality import QualityControl, why_unfit
from nowcast.data.readers._files import MissingPackage
from nowcast.data.readers._reader import time_in_name

VOTERS = 5  # frames that say which grid is the usual one, so that an odd file at the start does not refuse all others
QUEUED = 2  # files a process that are read ahead; bounds memory


@dataclass(frozen=True)
class Recipe:
    """How files are read.

    Args:
        format: name of a reader, or auto.
        options: of the reader.
        time_pattern: strptime directives of the time in file names, for files that do not tell it themselves; None
            looks for year, month, day, hour, minute.
        quality: control that each frame goes through.
    """

    format: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    time_pattern: str | None = None
    quality: QualityControl = field(default_factory=QualityControl)

    def __post_init__(self) -> None:
        if self.format == "auto":
            if self.options:
                raise InputError("options are of one format; name it with --format")
        else:
            readers.create(self.format, **self.options)

    def reader(self, path: Path) -> readers.Reader:
        """The reader of a file."""
        name = readers.detect(path) if self.format == "auto" else self.format
        return readers.create(name, **self.options)


@dataclass(frozen=True)
class Taken:
    """A frame that is fit for an archive: where it comes from, its time, pixels as `pack` gives them, its grid."""

    path: Path
    time: np.datetime64
    packed: np.ndarray
    grid: Grid
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A file, or a frame of one, that is not, and why."""

    path: Path
    reason: str


@dataclass
class Report:
    """What came of an ingest: frames written, frames that the archive had already, and all that was refused."""

    written: int = 0
    present: int = 0
    skipped: list[Refused] = field(default_factory=list)


def find_files(patterns: Sequence[str | os.PathLike]) -> list[Path]:
    """Files that globs (** for any depth), folders and paths name, in the order of the times in their names.

    A Zarr store is one of them, its contents are not; hidden files are none.

    Raises:
        InputError: for a pattern that names nothing.
    """
    files: set[Path] = set()
    for pattern in (os.fspath(pattern) for pattern in patterns):
        name = os.path.join(pattern, "**") if os.path.isdir(pattern) and not pattern.endswith(".zarr") else pattern
        found = {_whole_store(Path(path)) for path in glob.iglob(name, recursive=True)}
        found = {path for path in found if path.is_file() or path.suffix == ".zarr"}
        if not found:
            raise InputError(f"{pattern} names no file")
        files |= found
    return sorted(files, key=lambda path: (str(time_in_name(path) or ""), path))


def ingest(
    files: Sequence[Path],
    output: str | os.PathLike,
    recipe: Recipe | None = None,
    append: bool = False,
    on_error: Literal["skip", "stop"] = "skip",
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write an archive of the frames of files, whole or not at all.

    Args:
        files: as `find_files` gives them.
        output: ends in .nc or .zarr; it is replaced unless appended to.
        recipe: how files are read.
        append: keep the frames that the output has, and refuse those that do not fit them.
        on_error: leave out what cannot be used, or raise at the first.
        workers: processes that read; files that may hold many frames are read in this one.
        progress: called with the number of files done and of all.

    Raises:
        InputError: when no frame can be used, the disk is full, a package is missing, or, with stop, at a bad file.
    """
    recipe, output = recipe or Recipe(), Path(output)
    existing = Archive.open(output) if append and output.exists() else None
    report = Report()
    stream = _each(files, recipe, workers, progress)
    try:
        first = [] if existing else list(_until_taken(stream, VOTERS))
        grid = existing.grid if existing else _usual_grid(first)
        attrs = existing.attrs if existing else _attributes(first)
        if grid is None:
            reasons = "; ".join(f"{bad.path}: {bad.reason}" for bad in first[:3] if isinstance(bad, Refused))
            raise InputError(f"none of {len(files)} files can be used ({reasons or 'there are none'})")
        with ArchiveWriter(output, grid, attrs, existing, recipe.quality.clutter) as writer:
            _fill(writer, chain(first, stream), report, on_error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise InputError(f"the disk of {output} is full after {report.written} frames; nothing was kept") from error
    finally:
        stream.close()
        if existing:
            existing.close()
    return report


def _fill(
    writer: ArchiveWriter, stream: Iterator[Taken | Refused], report: Report, on_error: Literal["skip", "stop"]
) -> None:
    present = set(writer.times)
    source: dict[np.datetime64, Path] = {}
    before: Taken | None = None
    for item in stream:
        if isinstance(item, Taken) and item.time in present and same_place(item.grid, writer.grid):
            report.present += 1
            continue
        reason = item.reason if isinstance(item, Refused) else _why_not(item, writer.grid, source, before)
        if isinstance(item, Refused) or reason is not None:
            report.skipped.append(Refused(item.path, str(reason)))
            if on_error == "stop":
                raise InputError(f"{item.path}: {reason}")
            continue
        writer.add(item.time, item.packed)
        source[item.time], before = item.path, item
        report.written += 1


def _why_not(frame: Taken, grid: Grid, source: Mapping[np.datetime64, Path], before: Taken | None) -> str | None:
    """Why a frame does not fit those taken before, or None."""
    if frame.grid.shape != grid.shape:
        return (
            f"has {frame.grid.shape[0]} × {frame.grid.shape[1]} pixels, the archive {grid.shape[0]} × {grid.shape[1]}"
        )
    if not same_place(frame.grid, grid):
        return "is on another grid or projection than the archive"
    if frame.time in source:
        return f"has the time {frame.time} of {source[frame.time]}"
    wet = (frame.packed > 0) & (frame.packed != PACK_NODATA)
    if before is not None and wet.any() and np.array_equal(frame.packed, before.packed):
        return f"repeats every pixel of {before.path}"
    return None


def same_place(one: Grid, other: Grid) -> bool:
    """Whether pixels of two grids lie at the same places on earth, to a tenth of a pixel, however that is written."""
    if not one.same(other):
        return False
    if one.crs is None or other.crs is None:
        return one.crs is other.crs
    tenth = 0.1 * one.pixel_m / METRES_PER_DEGREE
    return np.allclose(_corners(one), _corners(other), rtol=0, atol=tenth)


def _corners(grid: Grid) -> np.ndarray:
    """Longitude and latitude of the outer pixels, in degrees of a great circle."""
    assert grid.crs is not None
    wkt = grid.crs.attrs.get("crs_wkt") or CRS.from_cf(grid.crs.attrs).to_wkt()
    x, y = np.meshgrid(grid.x.values[[0, -1]], grid.y.values[[0, -1]])
    longitude, latitude = _to_degrees(wkt).transform(x, y)
    return np.stack([np.cos(np.deg2rad(latitude)) * longitude, latitude])


@lru_cache
def _to_degrees(wkt: str) -> Transformer:
    return Transformer.from_crs(CRS.from_wkt(wkt), "EPSG:4326", always_xy=True)


def take_file(path: Path, recipe: Recipe) -> Iterator[Taken | Refused]:
    """The frames of a file after checks and quality control, and what is wrong with those that do not pass.

    Raises:
        MissingPackage: when the format needs one; nothing else that a damaged file does to a reader gets out.
    """
    try:
        for frame in recipe.reader(path).frames(path):
            yield _take(frame, path, recipe)
    except MissingPackage:
        raise
    except InputError as error:
        yield Refused(path, str(error).removeprefix(str(path)).lstrip(": "))
    except Exception as error:  # readers and the libraries under them raise anything at damaged files
        yield Refused(path, f"cannot be read, damaged or cut off? ({type(error).__name__}: {error})")


def _take(frame: readers.Frame, path: Path, recipe: Recipe) -> Taken | Refused:
    time = frame.time if frame.time is not None else time_in_name(path, recipe.time_pattern)
    if time is None:
        return Refused(path, "tells no time, nor does its name; say how the name tells it with --time_pattern")
    if wrong := why_unfit(frame.rate):
        return Refused(path, wrong if frame.time is None else f"{wrong} at {time}")
    packed = pack(recipe.quality.apply(frame.rate))
    return Taken(path, time.astype("datetime64[s]"), packed, frame.grid, frame.attrs)


def _each(
    files: Sequence[Path], recipe: Recipe, workers: int, progress: Callable[[int, int], None]
) -> Generator[Taken | Refused, None, None]:
    """What comes of files, in their order."""
    whole = _in_processes(files, recipe, workers) if workers > 1 else ((path, None) for path in files)
    for done, (path, items) in enumerate(whole, 1):
        yield from take_file(path, recipe) if items is None else items
        progress(done, len(files))


def _in_processes(
    files: Sequence[Path], recipe: Recipe, workers: int
) -> Iterator[tuple[Path, list[Taken | Refused] | None]]:
    # spawned, not forked: reading Zarr starts threads in this process, which a fork would not survive
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque = deque()
        try:
            for path in files:
                waiting.append((path, pool.submit(_take_single, path, recipe)))
                if len(waiting) > QUEUED * workers:
                    path, job = waiting.popleft()
                    yield path, job.result()
            for path, job in waiting:
                yield path, job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _take_single(path: Path, recipe: Recipe) -> list[Taken | Refused] | None:
    """What comes of a file of one frame; None of one of several, which might be more than memory holds."""
    items = list(islice(take_file(path, recipe), 2))
    return items if len(items) < 2 else None


def _until_taken(stream: Iterator[Taken | Refused], wanted: int) -> Iterator[Taken | Refused]:
    """What comes until so many frames are taken, or until the end."""
    for item in stream:
        yield item
        wanted -= isinstance(item, Taken)
        if not wanted:
            return


def _usual_grid(items: Sequence[Taken | Refused]) -> Grid | None:
    """The grid that most frames are on; the first of them when it is a tie."""
    grids = [item.grid for item in items if isinstance(item, Taken)]
    return max(grids, key=lambda grid: sum(same_place(grid, other) for other in grids), default=None)


def _attributes(items: Sequence[Taken | Refused]) -> dict[str, Any]:
    taken = next((item for item in items if isinstance(item, Taken)), None)
    return {"title": "Radar rain rate", **(taken.attrs if taken else {}), "history": "made by nowcast.ingest"}


def _whole_store(path: Path) -> Path:
    """A path, or the Zarr store that it lies in."""
    return next((parent for parent in reversed(path.parents) if parent.suffix == ".zarr"), path)
