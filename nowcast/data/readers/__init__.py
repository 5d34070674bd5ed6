"""Readers of weather services' radar files: one small file a format, all of one contract.

A reader turns a file into frames of rain rate in mm/h, north up, NaN where radar did not observe and zero where it
saw no rain, each with its time, its grid and its projection (`_reader.Frame`). Its name in `--format` is its file's.
What a format does not say (the time of day in a GIF, say) is left out rather than guessed.

All are our own rather than pysteps' importers, which return no time stamp and not always metres, and for ODIM always
one institution and accumulation time. Values of KNMI, FMI, MeteoSwiss and OPERA files are the same as theirs; where
the others differ, their files say why.
"""

import os
from pathlib import Path
from typing import Any

from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError
from nowcast.data.readers._files import head
from nowcast.data.readers._reader import Frame, Reader

__all__ = ["Frame", "Reader", "create", "detect", "names"]

_readers = Catalogue("nowcast.data.readers", "radar format")
# The generic reader takes any NetCDF file, so those that know a provider's conventions are asked before it.
_LAST = "cf"


def names() -> list[str]:
    """All formats."""
    return _readers.names()


def create(name: str, **options: Any) -> Reader:
    """The reader of a format. Raises InputError for a name or an option that there is not."""
    return _readers.create(name, **options)


def detect(path: str | os.PathLike) -> str:
    """The name of the format of a file, from its contents.

    Raises:
        InputError: when it is empty or no reader knows it.
    """
    path = Path(path)
    first = b"" if path.is_dir() else head(path)
    if not first and not path.is_dir():
        raise InputError(f"{path} is empty")
    for name in sorted(names(), key=lambda name: name == _LAST):
        reader: type[Reader] = _readers.member(name)
        if reader.recognises(path, first):
            return name
    raise InputError(f"{path} is of none of the formats {', '.join(names())}; name one with --format")
