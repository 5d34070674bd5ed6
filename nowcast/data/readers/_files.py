"""How readers open files: compressed or not, and through packages that not everybody has."""

import bz2
import gzip
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np

from nowcast.contracts import InputError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
_NETCDF = (".nc", ".nc4", ".cdf")
_ENOUGH = 2048  # bytes by which every format can be told


class MissingPackage(InputError):
    """A format needs a package that is not installed; it stops an ingest, where a damaged file is skipped."""


def package(name: str) -> ModuleType:
    """An optional package. Raises MissingPackage, which says how to get it."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # eccodes raises the latter when its library is not there
        raise MissingPackage(
            f"reading this format needs the package {name.split('.')[0]}; pip install 'nowcast[readers]' brings it"
        ) from error


def content(path: str | os.PathLike) -> bytes:
    """All bytes of a file, decompressed if it is gzip or bzip2."""
    return _read(path, -1)


def head(path: str | os.PathLike) -> bytes:
    """The first bytes of the contents of a file, decompressed if it is gzip or bzip2."""
    try:
        return _read(path, _ENOUGH)
    except (EOFError, OSError):
        with open(path, "rb") as file:  # cut off within the first block: nothing to be told from
            return file.read(_ENOUGH)


def _read(path: str | os.PathLike, size: int) -> bytes:
    with open(path, "rb") as file:
        start = file.read(3)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
    with opener(Path(path), "rb") as stream:
        return stream.read(size)


def is_hdf5_with(path: Path, head: bytes, *names: str) -> bool:
    """Whether a file is HDF5, other than NetCDF4, and has all these groups, data sets or ("@name") root attributes."""
    if not head.startswith(HDF5_SIGNATURE) or path.suffix in _NETCDF:
        return False
    try:
        with h5py.File(path) as file:
            return all(name[1:] in file.attrs if name.startswith("@") else name in file for name in names)
    except OSError:
        return False  # damaged; no reader will do better


def text(value: Any) -> str:
    """An HDF5 text attribute, which may be stored as bytes, as str or as an array of one of them."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    return value.decode("utf-8", "replace").rstrip("\0") if isinstance(value, bytes) else str(value)
