"""Forecast files: CF NetCDF4, rain_rate(init_time, lead_time, y, x), written a forecast at a time."""

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import h5py
import netCDF4
import numpy as np
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Grid
from nowcast.data.forecast_layout import NODATA, Layout

PACKED = np.dtype("<u2")
LEVEL: Final = 2  # of zlib; 4 takes half as long again and makes files a tenth smaller


class ForecastWriter:
    """Streams forecasts of one grid into a file that appears under its name when all of it is written.

    Use as a context manager; leaving it by an exception removes what was written. The NetCDF library defines the file;
    the maps are then put into it as they were deflated, by HDF5 itself, which takes no time.

    Args:
        path: ends in .nc.
        layout: of the file.
        init_times: of the forecasts, increasing.
    """

    def __init__(self, path: str | os.PathLike, layout: Layout, init_times: np.ndarray) -> None:
        self.path, self.layout, self.init_times = Path(path), layout, init_times
        if self.path.suffix != ".nc":
            raise InputError(f"{self.path} must end in .nc: a forecast file is NetCDF4")
        self.part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with netCDF4.Dataset(self.part, "w", format="NETCDF4") as file:
            self._define(file)
        self._file = h5py.File(self.part, "r+")
        for field in self.layout.fields:
            self._file[field.name].resize(len(self.init_times), axis=0)
        self._next = 0
        return self

    def append(self, fields: Mapping[str, np.ndarray]) -> None:
        """Add the forecast of the next initial time, as `Layout.pack` gives it."""
        self.append_deflated({name: deflated(packed) for name, packed in fields.items()})

    def append_deflated(self, fields: Mapping[str, Sequence[bytes]]) -> None:
        """Add the forecast of the next initial time, each field as `deflated` gives it."""
        for field in self.layout.fields:
            places = np.ndindex(self.layout.shape(field)[:-2])
            for place, content in zip(places, fields[field.name], strict=True):
                self._file[field.name].id.write_direct_chunk((self._next, *place, 0, 0), content)
        self._next += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)

    def _define(self, file: netCDF4.Dataset) -> None:
        layout = self.layout
        file.setncatts(layout.global_attrs)
        for dimension, size in {"init_time": None, **layout.sizes}.items():
            file.createDimension(dimension, size)
        for name, (dims, values, attrs) in layout.coordinates(self.init_times).items():
            variable = file.createVariable(name, values.dtype, dims)
            variable.setncatts(attrs)
            variable[...] = values
        height, width = layout.grid.shape
        for field in layout.fields:
            variable = file.createVariable(
                field.name,
                "u2",
                field.dims,
                endian="little",
                fill_value=NODATA,
                compression="zlib",
                complevel=LEVEL,
                shuffle=True,
                chunksizes=(*(1,) * (len(field.dims) - 2), height, width),
            )
            variable.setncatts(layout.attrs_of(field))


def deflated(packed: np.ndarray) -> list[bytes]:
    """The maps of a packed field, (T_out, …, H, W), as a file holds them: HDF5's shuffle, then zlib."""
    maps = packed.astype(PACKED, copy=False).reshape(-1, packed.shape[-2] * packed.shape[-1])
    return [zlib.compress(one.view("u1").reshape(-1, 2).T.tobytes(), LEVEL) for one in maps]


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
