"""Radar archives: CF NetCDF4 or Zarr, one variable (time, y, x), read as mm/h with NaN where not observed."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data import remote, units

# One packing everywhere (archives we write, the cache, forecast files), so that a value survives all of them.
PACK_STEP, PACK_NODATA = 0.01, 65535
PACKING = {
    "dtype": "uint16",
    "scale_factor": PACK_STEP,
    "_FillValue": np.uint16(PACK_NODATA),
    "zlib": True,
    "complevel": 4,
}
# A chunk is one frame, so that a frame costs no other and appending touches no old one, of at most this many pixels a
# side: measured by scripts/benchmark_chunks.py, see docs/ingest.md. In Zarr every chunk is a file, and the frame of
# most countries remains one; in NetCDF4 small chunks cost little and are the faster to read from.
CHUNK = 1024
NETCDF_CHUNK = 256
RATE_ATTRS = {"standard_name": "rainfall_rate", "long_name": "rain rate", "units": "mm h-1"}
METRES_PER_DEGREE = 111_195.0


@dataclass(frozen=True)
class Grid:
    """Where the pixels are: cell centres, and the CF variable that says in which projection.

    Args:
        y, x: coordinate variables with their attributes; y falls (north up).
        crs: the grid mapping variable, or None.
    """

    y: xr.DataArray
    x: xr.DataArray
    crs: xr.DataArray | None

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""
        return self.y.size, self.x.size

    @property
    def pixel_m(self) -> float:
        """Grid length in metres, north–south (degrees and kilometres by their units)."""
        if self.y.size < 2:
            return float("nan")
        length = abs(float(self.y[-1] - self.y[0])) / (self.y.size - 1)
        text = str(self.y.attrs.get("units", "m")).lower()
        return length * (
            METRES_PER_DEGREE if text.startswith("degree") else 1000.0 if text in ("km", "kilometers") else 1
        )

    def same(self, other: "Grid") -> bool:
        """Whether both name the same pixels."""
        return self.shape == other.shape and all(
            np.allclose(mine, theirs, rtol=0, atol=1e-3 * max(self._spacing(mine), 1e-9))
            for mine, theirs in ((self.y, other.y), (self.x, other.x))
        )

    @staticmethod
    def _spacing(axis: xr.DataArray) -> float:
        return abs(float(axis[-1] - axis[0])) / max(axis.size - 1, 1)


class Archive:
    """Rain-rate frames of one grid in the order of time, from one file or from many.

    Frames are read when asked for. Times need not be even: what is missing is a gap, which `times` shows.

    Args:
        paths: the files that hold it, NetCDF4 or Zarr.
        variable: name of the radar variable; None finds the one with units of rain.
    """

    def __init__(self, paths: Sequence[str | os.PathLike], variable: str | None = None) -> None:
        self.paths = [str(path) for path in paths]
        self._datasets = [_open(path) for path in self.paths]
        self.variables = [_variable(d, path, variable) for d, path in zip(self._datasets, self.paths, strict=True)]
        grids = [_grid(d, n, p) for d, n, p in zip(self._datasets, self.variables, self.paths, strict=True)]
        self.grid = grids[0]
        for grid, path in zip(grids, self.paths, strict=True):
            if not grid.same(self.grid):
                raise InputError(
                    f"{path} has another grid ({_describe(grid)}) than {self.paths[0]} ({_describe(self.grid)}); "
                    "files of one archive share their grid, list others as archives of their own"
                )
        self.times, self._place = self._sorted_times()
        self.step_s = _usual_step(self.times)

    @classmethod
    def open(cls, source: str | os.PathLike | Sequence[str | os.PathLike], variable: str | None = None) -> Self:
        """Open a file, a glob of files or a list of files as one archive; URLs too (see `nowcast.data.remote`).

        Raises:
            InputError: naming the file, when it is missing, unreadable, has no radar variable, no units, the wrong
                dimensions, a grid unlike the others, or a time that another frame has too.
        """
        sources = [source] if isinstance(source, str | os.PathLike) else list(source)
        paths: list[str] = []
        for one in (os.fspath(source) for source in sources):
            found = remote.matches(one)
            if not found:
                raise InputError(f"{one} matches no file")
            paths += found
        return cls(paths, variable)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def name(self) -> str:
        """File name without its ending (of the first file)."""
        return Path(self.paths[0]).stem

    @property
    def attrs(self) -> dict[str, Any]:
        """Global attributes of the first file."""
        return dict(self._datasets[0].attrs)

    def read(self, index: int) -> np.ndarray:
        """Frame number `index` in the order of time: (H, W) float32 mm/h, NaN where not observed, north up."""
        which, row = self._place[index]
        dataset = self._datasets[which]
        variable = dataset[self.variables[which]]
        try:
            values = np.asarray(variable.isel(time=row).values, dtype=np.float32)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.paths[which]} cannot be read at {self.times[index]}: {error}") from error
        if dataset["y"].values[0] < dataset["y"].values[-1]:
            values = values[::-1]
        if dataset["x"].values[0] > dataset["x"].values[-1]:
            values = values[:, ::-1]
        rate = units.to_rate(values, variable.attrs.get("units"), self.step_s)
        rate[~np.isfinite(rate)] = np.nan
        return np.maximum(rate, 0, out=rate)

    def find(self, times: np.ndarray) -> np.ndarray:
        """Index of the frame at each time (datetime64), or −1 where there is none within a tenth of a step."""
        after = np.searchsorted(self.times, times).clip(0, len(self) - 1)
        before = (after - 1).clip(0)
        nearer = np.where(np.abs(self.times[before] - times) < np.abs(self.times[after] - times), before, after)
        tolerance = np.timedelta64(int(self.step_s * 100), "ms")
        return np.where(np.abs(self.times[nearer] - times) <= tolerance, nearer, -1)

    def close(self) -> None:
        """Close the files."""
        for dataset in self._datasets:
            dataset.close()

    def _sorted_times(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        stamps, place = [], []
        for which, (dataset, path) in enumerate(zip(self._datasets, self.paths, strict=True)):
            values = dataset["time"].values
            if not np.issubdtype(values.dtype, np.datetime64) or np.isnat(values).any():
                raise InputError(f"{path}: time is no CF time ('seconds since …') or has missing values")
            stamps.append(values.astype("datetime64[ms]"))
            place += [(which, row) for row in range(len(values))]
        times = np.concatenate(stamps)
        if not len(times):
            raise InputError(f"{self.paths[0]} holds no frame")
        order = np.argsort(times, kind="stable")
        times, place = times[order], [place[i] for i in order]
        twice = np.flatnonzero(times[1:] == times[:-1])
        if len(twice):
            files = {self.paths[place[twice[0]][0]], self.paths[place[twice[0] + 1][0]]}
            raise InputError(f"{' and '.join(sorted(files))}: two frames have the time {times[twice[0]]}")
        return times, place


def write_archive(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Write `rain_rate` (time, y, x) in mm/h with NaN as a packed CF archive, whole or not at all.

    Args:
        dataset: rain_rate, its coordinates time, y and x, and optionally the grid mapping variable it names.
        path: ends in .nc or .zarr.
    """
    path = Path(path)
    rate = dataset["rain_rate"]
    if rate.dims != ("time", "y", "x"):
        raise InputError(f"an archive has rain_rate(time, y, x), not rain_rate{rate.dims}")
    dataset = dataset.assign(rain_rate=rate.clip(max=(PACK_NODATA - 1) * PACK_STEP))
    dataset["rain_rate"].attrs = {**RATE_ATTRS, **rate.attrs}
    dataset.attrs.setdefault("Conventions", "CF-1.11")
    time = {"units": "seconds since 1970-01-01", "calendar": "standard", "dtype": "int64"}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix == ".nc":
            packing = {**PACKING, "chunksizes": (1, *(min(size, NETCDF_CHUNK) for size in rate.shape[1:]))}
            dataset.to_netcdf(part, engine="netcdf4", encoding={"rain_rate": packing, "time": time})
        elif path.suffix == ".zarr":
            packing = {k: v for k, v in PACKING.items() if k not in ("zlib", "complevel")}
            packing["chunks"] = (1, *(min(size, CHUNK) for size in rate.shape[1:]))
            dataset.to_zarr(part, encoding={"rain_rate": packing, "time": time}, zarr_format=2, consolidated=True)
            if path.exists():
                shutil.rmtree(path)
        else:
            raise InputError(f"{path} must end in .nc or .zarr")
        os.replace(part, path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def pack(rate: np.ndarray) -> np.ndarray:
    """mm/h with NaN as uint16 hundredths (65535 where not observed; rates over 655.34 mm/h are cut to that)."""
    hundredths = rate / PACK_STEP
    np.rint(hundredths, out=hundredths)
    np.clip(hundredths, 0, PACK_NODATA - 1, out=hundredths)
    hundredths[np.isnan(rate)] = PACK_NODATA
    return hundredths.astype(np.uint16)


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack`: float32 mm/h with NaN."""
    rate = packed.astype(np.float32) / np.float32(1 / PACK_STEP)
    rate[packed == PACK_NODATA] = np.nan
    return rate


def _open(path: str) -> xr.Dataset:
    found = remote.readable(path)
    try:
        if remote.is_store(found):
            return xr.open_dataset(found, engine="zarr", chunks=None, decode_timedelta=False)
        return xr.open_dataset(found, engine="netcdf4", decode_timedelta=False)
    except Exception as error:  # whatever a broken file makes the readers raise
        raise InputError(f"{path} is no readable NetCDF4 file or Zarr store (damaged or cut off?): {error}") from error


def _variable(dataset: xr.Dataset, path: str, wanted: str | None) -> str:
    names = [str(name) for name in dataset.data_vars]
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{path} has no variable {wanted!r}; it has {', '.join(names) or 'none'}")
    else:
        fields = [name for name in names if dataset[name].ndim >= 2]
        rain = [name for name in fields if units.is_rain(dataset[name].attrs.get("units"))]
        if not rain and "rain_rate" in fields:
            rain = ["rain_rate"]
        if len(rain) > 1 and "rain_rate" in rain:
            rain = ["rain_rate"]
        if len(rain) != 1:
            what = f"several radar variables ({', '.join(rain)})" if rain else "no radar variable"
            said = ", ".join(f"{name} [{dataset[name].attrs.get('units', 'no units')}]" for name in names) or "nothing"
            raise InputError(f"{path} has {what} in {units.KNOWN_UNITS}; it has {said}; name one with variable=")
        wanted = rain[0]
    variable = dataset[wanted]
    if "units" not in variable.attrs:
        raise InputError(f"{path}: {wanted} has no units attribute; it must say {units.KNOWN_UNITS}")
    if not units.is_rain(variable.attrs["units"]):
        raise InputError(f"{path}: {wanted} has units {variable.attrs['units']!r}, none of {units.KNOWN_UNITS}")
    if variable.dims != ("time", "y", "x"):
        raise InputError(f"{path}: {wanted} has dimensions {variable.dims}, expected ('time', 'y', 'x')")
    for axis in variable.dims:
        if axis not in dataset.coords:
            raise InputError(f"{path}: dimension {axis} of {wanted} has no coordinate variable")
    return wanted


def _grid(dataset: xr.Dataset, name: str, path: str) -> Grid:
    variable = dataset[name]
    mapping = variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping")
    crs = None
    if mapping is not None:
        if mapping not in dataset.variables:
            raise InputError(f"{path}: {name} names the grid mapping {mapping!r}, which is not in the file")
        crs = dataset[mapping].reset_coords(drop=True)
    y, x = (dataset[axis].reset_coords(drop=True) for axis in ("y", "x"))
    for axis in (y, x):
        steps = np.diff(axis.values)
        if axis.size > 1 and not (np.all(steps > 0) or np.all(steps < 0)):
            raise InputError(f"{path}: {axis.name} neither only rises nor only falls")
    y = y.sortby("y", ascending=False)
    return Grid(y, x.sortby("x"), crs)


def _usual_step(times: np.ndarray) -> float:
    if len(times) < 2:
        return float("nan")
    steps, counts = np.unique(np.diff(times).astype("timedelta64[ms]").astype(np.int64), return_counts=True)
    return float(steps[np.argmax(counts)]) / 1000


def _describe(grid: Grid) -> str:
    return f"{grid.shape[0]}×{grid.shape[1]} at {grid.pixel_m:.0f} m"
