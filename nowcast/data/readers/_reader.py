"""What every reader gives: frames, their grids, and the steps from stored numbers to mm/h that several share."""

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pyproj import CRS

from nowcast.data import units
from nowcast.data.archive import Grid


@dataclass(frozen=True)
class Frame:
    """One field of rain.

    Args:
        time: UTC; the end of the interval for accumulations. None when the file's contents do not say.
        rate: (H, W) float32 mm/h, row 0 in the north, NaN where not observed.
        grid: cell centres in metres, or degrees for latitude–longitude, with the CF grid mapping.
        attrs: what the file says of where it comes from (institution, source).
    """

    time: np.datetime64 | None
    rate: np.ndarray
    grid: Grid
    attrs: Mapping[str, Any] = field(default_factory=dict)


class Reader(ABC):
    """A format. Options of a format are arguments of its reader's constructor."""

    @staticmethod
    @abstractmethod
    def recognises(path: Path, head: bytes) -> bool:
        """Whether a file is of this format, by its first bytes (of its contents, if it is compressed)."""

    @abstractmethod
    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The frames of a file, one after the other. Raises whatever a damaged file makes it raise."""


def make_grid(y: np.ndarray, x: np.ndarray, crs: CRS) -> Grid:
    """A grid from cell centres, y falling and x rising."""
    if crs.is_geographic:
        kinds = (("latitude", "degrees_north"), ("longitude", "degrees_east"))
    else:
        kinds = (("projection_y_coordinate", "m"), ("projection_x_coordinate", "m"))
    axes = [
        xr.DataArray(np.asarray(values, dtype=np.float64), dims=name, coords={name: values}, name=name)
        for name, values in (("y", y), ("x", x))
    ]
    for axis, (standard_name, unit) in zip(axes, kinds, strict=True):
        axis[axis.name].attrs = axis.attrs = {"standard_name": standard_name, "units": unit}
    with warnings.catch_warnings():
        # CF has no words for all of a projection; crs_wkt among the attributes does
        warnings.filterwarnings("ignore", category=UserWarning, module="pyproj")
        mapping = crs.to_cf()
    return Grid(axes[0][axes[0].name], axes[1][axes[1].name], xr.DataArray(np.int32(0), attrs=mapping, name="crs"))


def centres(
    left: float, top: float, pixel_x: float, pixel_y: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """y (falling) and x of cell centres, from the outer corner in the north-west and the sizes of a pixel."""
    height, width = shape
    return top - (np.arange(height) + 0.5) * pixel_y, left + (np.arange(width) + 0.5) * pixel_x


def dbz_to_rate(dbz: np.ndarray, zr_a: float, zr_b: float, least_dbz: float = -np.inf) -> np.ndarray:
    """Reflectivity in dBZ as mm/h by Z = a R^b; below `least_dbz` it is dry, and NaN stays NaN."""
    rate = units.to_rate(dbz, "dBZ", step_s=float("nan"), a=zr_a, b=zr_b)
    return np.where(dbz < least_dbz, 0, rate).astype(np.float32)


def utc(text: str, pattern: str) -> np.datetime64:
    """A time from text, by the directives of `datetime.strptime`."""
    return np.datetime64(datetime.strptime(text, pattern), "s")


def time_in_name(path: str | os.PathLike, pattern: str | None = None) -> np.datetime64 | None:
    """The time a file name tells, or None.

    Args:
        path: of the file.
        pattern: `strptime` directives of the part of the name that is the time, such as "%y%j%H%M"; None looks for
            year, month, day, hour and minute in this order, with or without seconds and signs between.
    """
    name = Path(path).name
    if pattern is not None:
        digits = {"Y": r"\d{4}", "j": r"\d{3}"}
        expression = re.sub(r"%(\w)", lambda found: digits.get(found[1], r"\d{2}"), re.escape(pattern))
        found = re.search(rf"(?<!\d){expression}", name)
        return _if_date(found[0] if found else "", pattern)
    found = re.search(r"((?:19|20)\d{2})-?([01]\d)-?([0-3]\d)[-_T]?([0-2]\d)[:-]?([0-5]\d)[:-]?([0-5]\d)?", name)
    return _if_date("".join(part or "00" for part in found.groups()) if found else "", "%Y%m%d%H%M%S")


def _if_date(digits: str, pattern: str) -> np.datetime64 | None:
    try:
        return utc(digits, pattern)
    except ValueError:  # none, or such as are no date
        return None
