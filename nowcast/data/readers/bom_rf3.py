"""Bureau of Meteorology Rainfields 3 NetCDF: accumulations around one radar (…prcp-c10.nc).

The files code cells beyond the radar's range as 0 as they do dry ones, and hold stray counts of −2 beside the fill
value −1. Both are NaN here: cells beyond `range_km` of the grid's centre, where the radar stands, and negative values.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers._files import HDF5_SIGNATURE
from nowcast.data.readers._reader import Frame, Reader, make_grid

__all__ = ["BomRf3"]


class BomRf3(Reader):
    """Reads the precipitation of a Rainfields 3 file; the frame's time is the end of its interval.

    Args:
        range_km: how far the radar sees; None takes every cell as observed that has a value.
    """

    def __init__(self, range_km: float | None = 146.5) -> None:
        self.range_km = range_km

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """NetCDF4 with an accumulation and its interval."""
        if not head.startswith(HDF5_SIGNATURE):
            return False
        try:
            with netCDF4.Dataset(path) as file:
                return {"precipitation", "start_time", "valid_time", "proj"} <= file.variables.keys()
        except OSError:
            return False  # damaged; no reader will do better

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        with xr.open_dataset(path, engine="netcdf4") as file:
            depth, start, end = (file[name].values for name in ("precipitation", "start_time", "valid_time"))
            if file["precipitation"].attrs["units"] not in ("kg m-2", "mm"):
                raise InputError(f"{path} has precipitation in {file['precipitation'].attrs['units']}, not kg m-2")
            y, x = (_metres(file[axis]) for axis in ("y", "x"))
            crs = CRS.from_cf(file["proj"].attrs)
            attrs = {key: str(file.attrs[key]) for key in ("institution", "source") if key in file.attrs}
        rate = (depth / ((end - start) / np.timedelta64(1, "h"))).astype(np.float32)
        rate[rate < 0] = np.nan
        if y[0] < y[-1]:
            y, rate = y[::-1], rate[::-1]
        if self.range_km is not None:
            rate[np.hypot(y[:, None] - y.mean(), x - x.mean()) > 1000 * self.range_km] = np.nan
        yield Frame(np.datetime64(str(end), "s"), rate, make_grid(y, x, crs), attrs)


def _metres(axis: xr.DataArray) -> np.ndarray:
    return axis.values * (1000.0 if axis.attrs.get("units") == "km" else 1.0)
