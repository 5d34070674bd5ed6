"""Sizes of the maps that position-dependent weights are learnt for."""

from collections.abc import Sequence

from nowcast.contracts import InputError


def rows_and_columns(mechanism: str, size: Sequence[int]) -> tuple[int, int]:
    """A size as two positive numbers. Raises InputError for anything else."""
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"{mechanism} needs a size of rows and columns, such as 14 and 14, not {tuple(size)}")
    height, width = size
    return height, width
