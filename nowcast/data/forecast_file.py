"""Forecast files: CF NetCDF4, rain_rate(init_time, lead_time, y, x), written a forecast at a time."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import netCDF4
import numpy as np
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP, RATE_ATTRS, Grid, pack

TIME_UNITS = "seconds since 1970-01-01"


class ForecastWriter:
    """Streams forecasts of one grid into a file that appears under its name when all of it is written.

    Use as a context manager; leaving it by an exception removes what was written.

    Args:
        path: ends in .nc.
        grid: of every forecast.
        lead_times_s: seconds from the forecast reference time, of every forecast.
        attrs: global attributes; `source` names the model.
    """

    def __init__(
        self, path: str | os.PathLike, grid: Grid, lead_times_s: Sequence[int], attrs: Mapping[str, Any]
    ) -> None:
        self.path = Path(path)
        if self.path.suffix != ".nc":
            raise InputError(f"{self.path} must end in .nc: forecasts are written as NetCDF4")
        self.part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self.grid, self.lead_times_s, self.attrs = grid, np.asarray(lead_times_s, dtype=np.int64), dict(attrs)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = netCDF4.Dataset(self.part, "w", format="NETCDF4")
        self._define()
        return self

    def append(self, init_time: np.datetime64, rate: np.ndarray) -> None:
        """Add the forecast made at `init_time`: (T_out, H, W) mm/h with NaN. Times must increase."""
        number = len(self._file.dimensions["init_time"])
        seconds = init_time.astype("datetime64[s]").astype(np.int64)
        self._file["init_time"][number] = seconds
        self._file["time"][number] = seconds + self.lead_times_s
        self._file["rain_rate"][number] = pack(rate)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)

    def _define(self) -> None:
        file, (height, width) = self._file, self.grid.shape
        file.setncatts({"Conventions": "CF-1.11", "title": "precipitation nowcast", **self.attrs})
        for dimension, size in (
            ("init_time", None),
            ("lead_time", len(self.lead_times_s)),
            ("y", height),
            ("x", width),
        ):
            file.createDimension(dimension, size)
        time = {"units": TIME_UNITS, "calendar": "standard"}
        self._variable("init_time", "i8", ("init_time",), standard_name="forecast_reference_time", **time)
        lead = self._variable("lead_time", "i4", ("lead_time",), standard_name="forecast_period", units="seconds")
        lead[:] = self.lead_times_s
        self._variable("time", "i8", ("init_time", "lead_time"), standard_name="time", long_name="valid time", **time)
        for axis in (self.grid.y, self.grid.x):
            self._variable(str(axis.name), "f8", (str(axis.name),), **axis.attrs)[:] = axis.values
        rate_attrs = {**RATE_ATTRS, "scale_factor": PACK_STEP, "coordinates": "time"}
        if self.grid.crs is not None:
            name = str(self.grid.crs.name)
            self._variable(name, "i4", (), **self.grid.crs.attrs)[...] = 0
            rate_attrs["grid_mapping"] = name
        rate = file.createVariable(
            "rain_rate",
            "u2",
            ("init_time", "lead_time", "y", "x"),
            fill_value=np.uint16(PACK_NODATA),
            compression="zlib",
            complevel=4,
            chunksizes=(1, 1, height, width),
        )
        rate.setncatts(rate_attrs)
        rate.set_auto_maskandscale(False)

    def _variable(self, name: str, kind: str, dimensions: tuple[str, ...], **attrs: Any) -> netCDF4.Variable:
        variable = self._file.createVariable(name, kind, dimensions)
        variable.setncatts({key: value for key, value in attrs.items() if key != "_FillValue"})
        return variable


class ForecastFile:
    """A forecast file, read a forecast at a time.

    Args:
        path: what `ForecastWriter` (or anything that keeps to the same layout) has written.

    Raises:
        InputError: naming the file, when it is missing, unreadable or no forecast file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = str(path)
        if not os.path.exists(self.path):
            raise InputError(f"{self.path} does not exist")
        try:
            self._dataset = xr.open_dataset(self.path, engine="netcdf4", decode_timedelta=False)
        except Exception as error:  # whatever a broken file makes the reader raise
            raise InputError(f"{self.path} is no readable NetCDF4 file (damaged or cut off?): {error}") from error
        dims = self._dataset["rain_rate"].dims if "rain_rate" in self._dataset else None
        if dims != ("init_time", "lead_time", "y", "x"):
            raise InputError(f"{self.path} is no forecast file: it needs rain_rate(init_time, lead_time, y, x)")
        self.init_times = self._dataset["init_time"].values.astype("datetime64[ms]")
        self.lead_times_s = self._dataset["lead_time"].values.astype(np.int64)
        self.model = str(self._dataset.attrs.get("model", Path(self.path).stem))
        crs = self._dataset["rain_rate"].encoding.get("grid_mapping") or self._dataset["rain_rate"].attrs.get(
            "grid_mapping"
        )
        y, x = (self._dataset[axis].reset_coords(drop=True) for axis in ("y", "x"))
        self.grid = Grid(y, x, self._dataset[crs].reset_coords(drop=True) if crs else None)

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """Open a forecast file."""
        return cls(path)

    def read(self, number: int) -> np.ndarray:
        """Forecast number `number`: (T_out, H, W) float32 mm/h, NaN where the forecast cannot say."""
        return self._dataset["rain_rate"].isel(init_time=number).values.astype(np.float32)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()
