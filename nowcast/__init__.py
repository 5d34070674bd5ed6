"""Radar precipitation nowcasting: where rain will be in the next two hours, from the last radar frames.

>>> forecaster = nowcast.load("runs/quickstart/best.ckpt")
>>> forecaster.nowcast(nowcast.open_archive("archive.nc"))  # from the last frames: (lead_time, y, x) mm/h, labelled
>>> forecaster.forecast(past, steps=12)  # (B, T_in, C, H, W) mm/h with NaN → (B, 12, C, H, W) mm/h
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from nowcast.trained import Trained

__version__ = "0.1.0"


def load(path: str | os.PathLike, device: str = "cpu") -> "Trained":
    """A checkpoint, run folder or export as a Forecaster; see `nowcast.exported.load`."""
    from nowcast import exported  # torch takes seconds to import, and not every use of nowcast needs it

    return exported.load(path, device)


def open_archive(
    source: str | os.PathLike | Sequence[str | os.PathLike], variable: str | None = None
) -> "xr.DataArray":
    """A file, glob or list of files as (time, y, x) mm/h, read as needed; see `nowcast.data.archive.Archive.open`."""
    from nowcast.data.archive import Archive
    from nowcast.data.lazy import lazy_frames

    return lazy_frames(Archive.open(source, variable))


def as_pysteps(path: str | os.PathLike, register_as: str | None = None, device: str = "cpu") -> "Callable":
    """A checkpoint as a nowcasting method of pysteps; see `nowcast.pysteps_method.pysteps_method`."""
    from nowcast.pysteps_method import pysteps_method

    return pysteps_method(load(path, device), register_as)
