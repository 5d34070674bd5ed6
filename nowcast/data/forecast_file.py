"""Forecast files: CF NetCDF4, rain_rate(init_time, lead_time, y, x), written a forecast at a time."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import netCDF4
import numpy as np
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Grid
from nowcast.data.forecast_layout import NODATA, Layout


class ForecastWriter:
    """Streams forecasts of one grid into a file that appears under its name when all of it is written.

    Use as a context manager; leaving it by an exception removes what was written.

    Args:
        path: ends in .nc.
        layout: of the file.
    """

    def __init__(self, path: str | os.PathLike, layout: Layout) -> None:
        self.path, self.layout = Path(path), layout
        if self.path.suffix != ".nc":
            raise InputError(f"{self.path} must end in .nc: a forecast file is NetCDF4")
        self.part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = netCDF4.Dataset(self.part, "w", format="NETCDF4")
        self._define()
        return self

    def append(self, init_time: np.datetime64, rate: np.ndarray) -> None:
        """Add the forecast made at `init_time`: (T_out, H, W) mm/h with NaN. Times must increase."""
        self.append_packed(init_time, self.layout.pack({"rain_rate": rate}))

    def append_packed(self, init_time: np.datetime64, fields: Mapping[str, np.ndarray]) -> None:
        """Add a forecast as `Layout.pack` gives it. Times must increase."""
        number = len(self._file.dimensions["init_time"])
        coordinates = self.layout.coordinates(np.array([init_time]))
        for name in ("init_time", "time"):
            self._file[name][number] = coordinates[name][1][0]
        for name, packed in fields.items():
            self._file[name][number] = packed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)

    def _define(self) -> None:
        file, layout = self._file, self.layout
        file.setncatts(layout.global_attrs)
        for dimension, size in {"init_time": None, **layout.sizes}.items():
            file.createDimension(dimension, size)
        for name, (dims, values, attrs) in layout.coordinates(np.array([], dtype="datetime64[s]")).items():
            variable = file.createVariable(name, values.dtype, dims)
            variable.setncatts(attrs)
            if "init_time" not in dims:
                variable[...] = values
        height, width = layout.grid.shape
        for field in layout.fields:
            variable = file.createVariable(
                field.name,
                "u2",
                field.dims,
                fill_value=NODATA,
                compression="zlib",
                complevel=4,
                chunksizes=(*(1,) * (len(field.dims) - 2), height, width),
            )
            variable.setncatts(layout.attrs_of(field))
            variable.set_auto_maskandscale(False)


class ForecastFile:
    """A forecast file, read a forecast at a time.

    Args:
        path: what a forecast was written to: a NetCDF4 file, a Zarr store, or a folder of files of one initial time.

    Raises:
        InputError: naming the file, when it is missing, unreadable or no forecast file.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = str(path)
        if not os.path.exists(self.path):
            raise InputError(f"{self.path} does not exist")
        try:
            self._dataset = _open(Path(path))
        except Exception as error:  # whatever a broken file makes the reader raise
            raise InputError(f"{self.path} is no readable NetCDF4 file (damaged or cut off?): {error}") from error
        dims = self._dataset["rain_rate"].dims if "rain_rate" in self._dataset else None
        if dims != ("init_time", "lead_time", "y", "x"):
            raise InputError(f"{self.path} is no forecast file: it needs rain_rate(init_time, lead_time, y, x)")
        self.init_times = self._dataset["init_time"].values.astype("datetime64[ms]")
        self.lead_times_s = self._dataset["lead_time"].values.astype(np.int64)
        self.attrs = dict(self._dataset.attrs)
        self.model = str(self.attrs.get("model", Path(self.path).stem))
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


def _open(path: Path) -> xr.Dataset:
    if not path.is_dir():
        return xr.open_dataset(path, engine="netcdf4", decode_timedelta=False)
    if path.suffix == ".zarr":
        return xr.open_dataset(path, engine="zarr", chunks=None, decode_timedelta=False)
    files = sorted(path.glob("*.nc"))
    return xr.open_mfdataset(
        files, engine="netcdf4", combine="nested", concat_dim="init_time", data_vars="minimal", coords="minimal",
        compat="override", join="override", decode_timedelta=False,
    )  # fmt: skip
