"""NOAA MRMS GRIB2 (PrecipRate and accumulations, plain or .gz) on the latitude–longitude grid of 0.01°.

Source: NSSL MRMS GRIB2 tables, https://www.nssl.noaa.gov/projects/mrms/operational/tables.php: −3 is "no coverage"
and −1 "missing"; both are NaN here. Longitudes run from −180°.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers._files import content, package
from nowcast.data.readers._reader import Frame, Reader, make_grid, utc

__all__ = ["MrmsGrib2"]

_PRECIPITATION = 209, 6  # discipline and category of NSSL's rates and accumulations
_RATE = 1
_HOURS = {2: 1, 3: 3, 4: 6, 5: 12, 6: 24, 7: 48, 8: 72}  # radar-only accumulations by parameter number
_EARTHS = {2: "+a=6378160 +b=6356775", 4: "+ellps=GRS80", 5: "+datum=WGS84", 6: "+R=6371229"}


class MrmsGrib2(Reader):
    """Reads the messages of a file."""

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """GRIB edition 2."""
        return head.startswith(b"GRIB") and head[7:8] == b"\2"

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The frames of a file, one a message."""
        eccodes, data, place = package("eccodes"), content(path), 0
        while place < len(data):
            if data[place : place + 4] != b"GRIB":
                raise InputError(f"{path}: no GRIB message at byte {place}")
            length = int.from_bytes(data[place + 8 : place + 16], "big")
            if place + length > len(data):
                raise InputError(f"{path} is cut off: {len(data) - place} of {length} bytes of a message")
            message = eccodes.codes_new_from_message(data[place : place + length])
            try:
                yield _frame(eccodes, message, path)
            finally:
                eccodes.codes_release(message)
            place += length


def _frame(eccodes: ModuleType, message: Any, path: str | os.PathLike) -> Frame:
    kind = tuple(eccodes.codes_get(message, key) for key in ("discipline", "parameterCategory"))
    number = eccodes.codes_get(message, "parameterNumber")
    if kind != _PRECIPITATION or number not in (_RATE, *_HOURS):
        raise InputError(f"{path} has GRIB parameter {(*kind, number)}, no MRMS precipitation rate or accumulation")
    if eccodes.codes_get(message, "gridType") != "regular_ll":
        raise InputError(f"{path} is on a grid of type {eccodes.codes_get(message, 'gridType')}, not regular_ll")
    y, x = (_axis(eccodes, message, *keys) for keys in (("latitude", "Nj"), ("longitude", "Ni")))
    rate = eccodes.codes_get_values(message).astype(np.float32).reshape(y.size, x.size)
    rate[rate < 0] = np.nan
    rate /= _HOURS.get(number, 1)
    if y[0] < y[-1]:
        y, rate = y[::-1], rate[::-1]
    if x[0] >= 180:
        x = x - 360
    earth = _EARTHS.get(eccodes.codes_get(message, "shapeOfTheEarth"), "+R=6371229")
    date, time = (eccodes.codes_get(message, key) for key in ("dataDate", "dataTime"))
    seconds = eccodes.codes_get(message, "second")
    return Frame(
        time=utc(f"{date:08}{time:04}{seconds:02}", "%Y%m%d%H%M%S"),
        rate=rate,
        grid=make_grid(y, x, CRS.from_proj4(f"+proj=longlat {earth} +no_defs")),
        attrs={"institution": "NOAA/NSSL", "source": "MRMS"},
    )


def _axis(eccodes: ModuleType, message: Any, name: str, count: str) -> np.ndarray:
    """Cell centres in degrees; GRIB's are rounded to a millionth, so the last is off by more than its increment."""
    first, last = (eccodes.codes_get(message, f"{name}Of{which}GridPointInDegrees") for which in ("First", "Last"))
    return np.linspace(first, last, eccodes.codes_get(message, count))
