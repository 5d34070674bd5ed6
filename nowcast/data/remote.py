"""Archives that lie elsewhere: URLs such as s3://bucket/radar.zarr, by fsspec, which also knows its credentials.

A Zarr store is read where it lies, chunk by chunk. A NetCDF file is fetched whole, into a temporary file that ends with
the process.
"""

import glob
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import fsspec.core

from nowcast.contracts import InputError


def is_remote(path: str) -> bool:
    """Whether a path is a URL, plain or chained (filecache::s3://…)."""
    return re.match(r"[a-z][a-z0-9+.-]*(::|://)", path) is not None


def below(root: str | os.PathLike | None, path: str) -> str:
    """A path in a folder, either of which may be a URL; a whole path stays what it is."""
    folder = os.fspath(root or "")
    if is_remote(path) or not is_remote(folder) or os.path.isabs(path):
        return path if is_remote(path) else str(Path(folder, path))
    return f"{folder.rstrip('/')}/{path}"


def matches(pattern: str) -> list[str]:
    """The paths that a pattern stands for, in order; a path without wildcards stands for itself."""
    if not glob.has_magic(pattern):
        return [pattern]
    if not is_remote(pattern):
        return sorted(glob.glob(pattern))
    with _explained(pattern):
        system, inside = fsspec.core.url_to_fs(pattern)
        return sorted(system.unstrip_protocol(found) for found in system.glob(inside))


def readable(path: str) -> str:
    """A path that libraries open: itself, or of a remote NetCDF file its copy here.

    Raises:
        InputError: when there is nothing, or nobody can go there.
    """
    if not is_remote(path):
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist")
        return path
    with _explained(path):
        system, inside = fsspec.core.url_to_fs(path)
        if not system.exists(inside):
            raise InputError(f"{path} does not exist")
        return path if is_store(path) else str(fsspec.open_local(f"simplecache::{path}"))


def is_store(path: str) -> bool:
    """Whether a path is a Zarr store rather than a file."""
    return path.rstrip("/").endswith(".zarr") if is_remote(path) else os.path.isdir(path)


def stamp(path: str) -> str:
    """A text that changes when the file or store does, from the sizes, times and tags of all that is in it."""
    if not is_remote(path):
        inner = Path(path)
        newest = max(p.stat().st_mtime_ns for p in ([inner, *inner.rglob("*")] if inner.is_dir() else [inner]))
        return f"{inner.resolve()}|{newest}|{inner.stat().st_size}"
    with _explained(path):
        system, inside = fsspec.core.url_to_fs(path)
        parts = sorted(system.find(inside)) if is_store(path) else [inside]
        marks = "".join(str(system.checksum(part)) for part in parts)
    return f"{path}|{hashlib.sha256(marks.encode()).hexdigest()}"


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """A missing package, key or connection in one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # every kind of remote storage has its own
        raise InputError(f"{path} cannot be reached: {error or type(error).__name__}") from error
