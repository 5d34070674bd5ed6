"""Archives written a frame at a time, of any length in the memory of one frame, safe against being stopped anywhere."""

import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr
import zarr

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP, Archive, Grid, pack, unpack, write_archive
from nowcast.data.quality import WetFrequency
from nowcast.data.unfinished import told_as_os_error


class ArchiveWriter:
    """Takes packed frames in any order of time and leaves an archive in which time increases.

    Frames go to a Zarr store in a folder beside the archive. `finish` sorts them if need be and puts the archive under
    its name; until then what was under the name remains. `begin`, `extend` or `resume` comes first.

    Args:
        path: ends in .nc or .zarr.
        folder: of its own, on the same file system as the path.
    """

    def __init__(self, path: str | os.PathLike, folder: Path) -> None:
        self.path, self.folder = Path(path), folder
        if self.path.suffix not in (".nc", ".zarr"):
            raise InputError(f"{self.path} must end in .nc or .zarr")
        self.stage = folder / "frames.zarr"
        self.times: list[np.datetime64] = []
        self.grid: Grid | None = None
        self._attrs: dict[str, Any] = {}

    def begin(self, grid: Grid, attrs: Mapping[str, Any]) -> None:
        """Start without frames, on this grid, with these global attributes."""
        self.grid, self._attrs = grid, dict(attrs)

    def extend(self, archive: Archive) -> None:
        """Start with the frames of an archive: as links to its chunks if it is written like ours, else one by one."""
        self.begin(archive.grid, archive.attrs)
        if [str(self.path)] == archive.paths and _is_ours(self.path):
            _link_all(self.path, self.stage)
            self._open_store()
            self.times = list(archive.times.astype("datetime64[s]"))
        else:
            for index, time in enumerate(archive.times):
                self.add(time, pack(archive.read(index)))

    def resume(self, times: Sequence[np.datetime64]) -> None:
        """Go on with what lies in the folder, of which the frames with these times are whole."""
        # a frame more than times say may be there; its time is a number that the store lacks until it is finished
        with xr.open_zarr(self.stage, drop_variables=["rain_rate", "time"], consolidated=False, chunks=None) as known:
            y, x = (known[axis].load().reset_coords(drop=True) for axis in ("y", "x"))
            crs = known["crs"].load().reset_coords(drop=True) if "crs" in known.variables else None
            self.begin(Grid(y, x, crs), known.attrs)
        self._open_store()
        self._frames.resize((len(times), *self._frames.shape[1:]))
        self.times = list(times)

    def add(self, time: np.datetime64, packed: np.ndarray) -> None:
        """Take a frame (H, W) as `pack` gives it."""
        if not self.times:
            self._start(time, packed)
        else:
            self._frames.resize((len(self.times) + 1, *packed.shape))
            self._frames[len(self.times)] = packed
        self.times.append(time.astype("datetime64[s]"))

    def frame(self, number: int) -> np.ndarray:
        """A frame as it was taken, in the order in which they were."""
        return np.asarray(self._frames[number])

    def finish(self, clutter: float | None = None) -> None:
        """Put the archive under its name.

        Args:
            clutter: pixels that are wet in more than this share of all frames become unobserved; None keeps all.
        """
        times = np.array(self.times)
        order = np.argsort(times, kind="stable")
        ready = self.stage
        if clutter is not None or np.any(np.diff(order) < 0):
            ready = self._arranged(order, None if clutter is None else self._clutter(clutter))
        store = zarr.open_group(ready, mode="r+", zarr_format=2, use_consolidated=False)
        attrs, seconds = dict(store["time"].attrs), times[order].astype(np.int64)
        # written anew in one chunk: time grew by a frame at a time, and a chunk of each would be a file of each
        time = store.create_array("time", data=seconds, chunks=seconds.shape, fill_value=None, overwrite=True)
        time.attrs.update(attrs)
        for partial in ready.rglob("*.partial"):  # what a killed process was writing
            partial.unlink()
        zarr.consolidate_metadata(ready, zarr_format=2)
        if self.path.suffix == ".nc":
            ready = self._as_netcdf(ready)
        replaced = self.folder / f"replaced{self.path.suffix}"
        if self.path.exists():
            _remove(replaced)
            os.replace(self.path, replaced)
        os.replace(ready, self.path)

    def _start(self, time: np.datetime64, packed: np.ndarray) -> None:
        assert self.grid is not None
        crs = {} if self.grid.crs is None else {"crs": self.grid.crs.rename("crs")}
        attrs = {"grid_mapping": "crs"} if crs else {}
        rate = xr.DataArray(unpack(packed)[None], dims=("time", "y", "x"), attrs=attrs)
        first = xr.Dataset(
            {"rain_rate": rate, **crs},
            coords={"time": [time.astype("datetime64[ns]")], "y": self.grid.y, "x": self.grid.x},
            attrs=self._attrs,
        )
        write_archive(first, self.stage)
        self._open_store()

    def _open_store(self) -> None:
        self._frames = zarr.open_array(self.stage / "rain_rate", mode="r+", zarr_format=2)

    def _arranged(self, order: np.ndarray, clutter: np.ndarray | None) -> Path:
        """The store with frames in an order, for which files are linked by other names, and without clutter."""
        place = self.folder / "arranged.zarr"
        shutil.rmtree(place, ignore_errors=True)
        _link_all(self.stage, place, shutil.ignore_patterns("[0-9]*.*.*"))
        chunks = [range(-(-size // side)) for size, side in zip(self._frames.shape, self._frames.chunks, strict=True)]
        frames = zarr.open_array(place / "rain_rate", mode="r+", zarr_format=2)
        for number, taken in enumerate(order):
            if clutter is not None:
                frames[number] = np.where(clutter, np.uint16(PACK_NODATA), self.frame(taken))
                continue
            for row, column in product(*chunks[1:]):
                source = self.stage / "rain_rate" / f"{taken}.{row}.{column}"
                if source.exists():  # else all of it is unobserved
                    _link(source, place / "rain_rate" / f"{number}.{row}.{column}")
        return place

    def _as_netcdf(self, store: Path) -> Path:
        place = self.folder / "archive.nc"
        one_thread = dask.config.set(scheduler="synchronous")
        with xr.open_zarr(store, consolidated=True) as frames, one_thread, told_as_os_error(self.path):
            write_archive(frames.drop_encoding(), place)
        return place

    def _clutter(self, share: float) -> np.ndarray:
        frequency = WetFrequency((self._frames.shape[1], self._frames.shape[2]))
        for number in range(len(self.times)):
            frequency.update(unpack(self.frame(number)))
        return frequency.clutter(share)


def _is_ours(path: Path) -> bool:
    """Whether an archive is a Zarr store with our packing, which packed frames can be added to."""
    if path.suffix != ".zarr" or not (path / "rain_rate" / ".zarray").exists():
        return False
    frames = zarr.open_array(path / "rain_rate", mode="r", zarr_format=2)
    packing = frames.dtype == np.uint16 and frames.fill_value == PACK_NODATA
    return packing and frames.attrs.get("scale_factor") == PACK_STEP and frames.chunks[0] == 1


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link_all(source: Path, target: Path, ignore: Any = None) -> None:
    """A copy of a Zarr store that shares its files, which zarr replaces and never writes into."""
    shutil.copytree(source, target, copy_function=_link, ignore=ignore)


def _link(source: str | os.PathLike, target: str | os.PathLike) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or too many to one file
        shutil.copy2(source, target)
