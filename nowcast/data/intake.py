"""Frames out of a weather service's files: which files there are, and what of each is fit for an archive."""

import glob
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.archive import Grid, pack
from nowcast.data.quality import QualityControl, why_unfit
from nowcast.data.readers._files import MissingPackage
from nowcast.data.readers._reader import time_in_name
from nowcast.data.workers import spread


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


def take_files(
    files: Sequence[Path], recipe: Recipe, jobs: int = 1, scheduler: str | None = None
) -> Generator[tuple[Path, Iterator[Taken | Refused]], None, None]:
    """Each file in its order, with what comes of it.

    Args:
        files: to read.
        recipe: how.
        jobs: processes that read; files of several frames are read in this one, being more than memory might hold.
        scheduler: address of a dask scheduler instead.
    """
    if jobs <= 1 and scheduler is None:
        yield from ((path, take_file(path, recipe)) for path in files)
        return
    for path, items in spread(partial(_take_single, recipe=recipe), files, _lost, jobs, scheduler):
        yield path, take_file(path, recipe) if items is None else iter(items)


def _take_single(path: Path, recipe: Recipe) -> list[Taken | Refused] | None:
    """What comes of a file of one frame; None of one of several."""
    items = list(islice(take_file(path, recipe), 2))
    return items if len(items) < 2 else None


def _lost(path: Path) -> list[Taken | Refused] | None:
    return [Refused(path, "ended the process that read it, damaged?")]


def _whole_store(path: Path) -> Path:
    """A path, or the Zarr store that it lies in."""
    return next((parent for parent in reversed(path.parents) if parent.suffix == ".zarr"), path)
