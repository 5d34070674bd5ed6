"""Splits: which archives, and which blocks of their time, are for training, validation and test."""

import os
from dataclasses import dataclass

import numpy as np

from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.remote import below


@dataclass(frozen=True)
class Block:
    """One archive, or the part of it between two times.

    Args:
        path: a file, a glob, a URL or a list of such on one grid; relative ones start at the data module's root.
        begin: first time of the block, such as "2016-09-28T15:00"; None is the archive's first.
        end: the block lies before this time; None is after the archive's last.
        variable: name of the radar variable; None finds it by its units.
    """

    path: str | list[str]
    begin: str | None = None
    end: str | None = None
    variable: str | None = None

    def open(self, root: str | os.PathLike | None) -> Archive:
        """The archive behind the block. Raises InputError naming the file that cannot be used."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        return Archive.open([below(root, path) for path in paths], self.variable)

    @property
    def span(self) -> tuple[np.datetime64 | None, np.datetime64 | None]:
        """begin and end as times. Raises InputError for text that is no time."""
        return _time(self.begin), _time(self.end)


def as_block(entry: str | Block) -> Block:
    """A split's entry: a path alone means the whole archive."""
    return entry if isinstance(entry, Block) else Block(entry)


def _time(text: str | None) -> np.datetime64 | None:
    if text is None:
        return None
    try:
        return np.datetime64(text, "ms")
    except ValueError as error:
        raise InputError(f"{text!r} is no time; write it like 2016-09-28T15:00") from error
