"""Any NetCDF or Zarr file in CF conventions: rain rate, accumulation or reflectivity over (y, x) or (time, y, x).

Which variable is radar is told by its units, which dimensions are time, y and x by the attributes of their coordinates
(axis, standard_name, units) or else by their usual names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from pyproj import CRS
from pyproj.exceptions import CRSError

from nowcast.contracts import InputError
from nowcast.data import units
from nowcast.data.readers._files import HDF5_SIGNATURE
from nowcast.data.readers._reader import Frame, Reader, make_grid
from nowcast.scaling import ZR_A, ZR_B

__all__ = ["CF"]

_AXES = {
    "time": ("T", ("time",), ("time", "valid_time", "t")),
    "y": ("Y", ("latitude", "projection_y_coordinate"), ("y", "lat", "latitude", "nj", "northing")),
    "x": ("X", ("longitude", "projection_x_coordinate"), ("x", "lon", "longitude", "ni", "easting")),
}


class CF(Reader):
    """Reads the frames of one variable.

    Args:
        variable: its name; None takes the one whose units are those of rain.
        minutes: interval of accumulations; None takes the step between the frames of the file.
        zr_a, zr_b: of Z = a R^b, for reflectivity.
    """

    def __init__(
        self, variable: str | None = None, minutes: float | None = None, zr_a: float = ZR_A, zr_b: float = ZR_B
    ) -> None:
        self.variable, self.minutes, self.zr_a, self.zr_b = variable, minutes, zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """NetCDF 3 or 4, other HDF5, or a Zarr store."""
        zarr = path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zmetadata", "zarr.json"))
        return zarr or head.startswith((b"CDF", HDF5_SIGNATURE))

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The frames of a file in their order, each read when it is asked for."""
        with xr.open_dataset(path, engine="zarr" if Path(path).is_dir() else "netcdf4") as file:
            field = self._field(file, path)
            crs = _crs(file, field)
            field = field.rename({_dimension(file, field, axis, path): axis for axis in ("y", "x")})
            field = field.sortby("y", ascending=False).sortby("x")
            grid = make_grid(_in_metres(field["y"]), _in_metres(field["x"]), crs)
            attrs = {key: str(file.attrs[key]) for key in ("institution", "source") if key in file.attrs}
            times = [dimension for dimension in field.dims if dimension not in ("y", "x")]
            if len(times) > 1:
                raise InputError(f"{path}: {field.name} has dimensions {field.dims}; a time and two of space are read")
            steps = range(field.sizes[times[0]]) if times else [None]
            seconds = self._interval_s(file, field)
            for step in steps:
                frame = (field if step is None else field.isel({times[0]: step})).transpose("y", "x")
                values = np.asarray(frame.values, dtype=np.float32)
                rate = units.to_rate(values, frame.attrs.get("units"), seconds, self.zr_a, self.zr_b)
                rate = np.where(np.isfinite(rate), np.maximum(rate, 0), np.nan).astype(np.float32)
                yield Frame(_time(file, frame), rate, grid, attrs)

    def _field(self, file: xr.Dataset, path: str | os.PathLike) -> xr.DataArray:
        if self.variable is not None:
            if self.variable not in file.data_vars:
                raise InputError(
                    f"{path} has no variable {self.variable!r}; it has {', '.join(map(str, file.data_vars))}"
                )
            return file[self.variable]
        rain = [
            name for name in file.data_vars if file[name].ndim >= 2 and units.is_rain(file[name].attrs.get("units"))
        ]
        rain = [name for name in rain if name == "rain_rate"] or rain
        if len(rain) != 1:
            said = f"several radar variables ({', '.join(map(str, rain))}); name one" if rain else "no radar variable"
            raise InputError(f"{path} has {said}; units must be {units.KNOWN_UNITS}")
        return file[rain[0]]

    def _interval_s(self, file: xr.Dataset, field: xr.DataArray) -> float:
        if self.minutes is not None:
            return 60 * self.minutes
        time = file.get("time", file.get("valid_time"))
        if time is not None and time.size > 1:
            return float(np.median(np.diff(time.values)) / np.timedelta64(1, "s"))
        if field.attrs.get("units") in units.DEPTH_UNITS:
            raise InputError(f"{field.name} is an accumulation over a time that the file does not tell; give minutes")
        return np.nan


def _dimension(file: xr.Dataset, field: xr.DataArray, axis: str, path: str | os.PathLike) -> str:
    """The dimension of a field that is this axis."""
    letter, standard_names, usual_names = _AXES[axis]
    for dimension in map(str, field.dims):
        attrs = file[dimension].attrs if dimension in file.variables else {}
        told = attrs.get("axis") == letter or attrs.get("standard_name") in standard_names
        if (told or dimension.lower() in usual_names) and dimension in file.variables:
            return dimension
    raise InputError(f"{path}: {field.name}{field.dims} has no dimension that is {axis}, with a coordinate variable")


def _crs(file: xr.Dataset, field: xr.DataArray) -> CRS:
    """The grid mapping; WGS84 longitude and latitude when coordinates are in degrees and nothing else is said."""
    name = field.attrs.get("grid_mapping") or field.encoding.get("grid_mapping")
    if name in file.variables:
        try:
            return CRS.from_cf(file[name].attrs)
        except (CRSError, KeyError) as error:
            raise InputError(f"grid mapping {name} cannot be understood: {error}") from error
    if any(
        str(file[axis].attrs.get("units", "")).startswith("degree") for axis in field.dims if axis in file.variables
    ):
        return CRS.from_epsg(4326)
    raise InputError(
        f"{field.name} has no grid mapping, and its coordinates are not in degrees: its projection is not known"
    )


def _in_metres(axis: xr.DataArray) -> np.ndarray:
    return axis.values * (1000.0 if str(axis.attrs.get("units")) in ("km", "kilometers") else 1.0)


def _time(file: xr.Dataset, frame: xr.DataArray) -> np.datetime64 | None:
    for name in _AXES["time"][2]:
        time = frame.coords.get(name, file.get(name))
        if time is not None and time.ndim == 0 and np.issubdtype(time.dtype, np.datetime64):
            return time.values.astype("datetime64[s]")
    return None
