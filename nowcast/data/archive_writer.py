"""Archives written a frame at a time, of any length in the memory of one frame, whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dask
import numpy as np
import xarray as xr
import zarr

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP, Archive, Grid, pack, unpack, write_archive
from nowcast.data.quality import WetFrequency


class ArchiveWriter:
    """Takes packed frames in any order of time and leaves an archive in which time increases.

    Use as a context manager. Frames go to a hidden Zarr store beside the archive. Leaving sorts them if need be and
    puts the archive under its name; leaving by an exception removes the store, and what was under the name remains.

    Args:
        path: ends in .nc or .zarr.
        grid: of every frame.
        attrs: global attributes.
        append_to: an archive whose frames are kept, usually of the same path; None starts anew.
        clutter: pixels that are wet in more than this share of all frames become unobserved; None keeps all.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        grid: Grid,
        attrs: Mapping[str, Any],
        append_to: Archive | None = None,
        clutter: float | None = None,
    ) -> None:
        self.path, self.grid, self.attrs = Path(path), grid, dict(attrs)
        if self.path.suffix not in (".nc", ".zarr"):
            raise InputError(f"{self.path} must end in .nc or .zarr")
        self.stage = self.path.with_name(f".{self.path.stem}.{os.getpid()}.stage.zarr")
        self.append_to, self.clutter = append_to, clutter
        self.times: list[np.datetime64] = []
        self._kept = 0

    def __enter__(self) -> Self:
        if self.append_to is not None:
            self._keep(self.append_to)
        return self

    def add(self, time: np.datetime64, packed: np.ndarray) -> None:
        """Take a frame (H, W) as `pack` gives it."""
        if not self.times:
            self._start(time, packed)
        else:
            self._frames.resize((len(self.times) + 1, *self.grid.shape))
            self._frames[len(self.times)] = packed
        self.times.append(time.astype("datetime64[s]"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and len(self.times) > self._kept:
                self._finish()
        finally:
            shutil.rmtree(self.stage, ignore_errors=True)

    def _start(self, time: np.datetime64, packed: np.ndarray) -> None:
        crs = {} if self.grid.crs is None else {"crs": self.grid.crs.rename("crs")}
        attrs = {"grid_mapping": "crs"} if crs else {}
        rate = xr.DataArray(unpack(packed)[None], dims=("time", "y", "x"), attrs=attrs)
        first = xr.Dataset(
            {"rain_rate": rate, **crs},
            coords={"time": [time.astype("datetime64[ns]")], "y": self.grid.y, "x": self.grid.x},
            attrs=self.attrs,
        )
        write_archive(first, self.stage)
        self._open_store()

    def _open_store(self) -> None:
        self._store = zarr.open_group(self.stage, mode="r+", zarr_format=2, use_consolidated=False)
        self._frames = zarr.open_array(self.stage / "rain_rate", mode="r+", zarr_format=2)

    def _keep(self, archive: Archive) -> None:
        """Take over the frames of an archive: as links to its chunks if it is ours, else one by one."""
        if [str(self.path)] == archive.paths and _is_ours(self.path):
            # links will do, for zarr replaces files and never writes into one
            shutil.copytree(self.path, self.stage, copy_function=os.link)
            self._open_store()
            self.times = list(archive.times.astype("datetime64[s]"))
        else:
            for index, time in enumerate(archive.times):
                self.add(time, pack(archive.read(index)))
        self._kept = len(self.times)

    def _finish(self) -> None:
        times = np.array(self.times)
        order = np.argsort(times, kind="stable")
        attrs, seconds = dict(self._store["time"].attrs), times.astype(np.int64)
        # written anew in one chunk: time grew by a frame at a time, and a chunk of each would be a file of each
        time = self._store.create_array("time", data=seconds, chunks=seconds.shape, fill_value=None, overwrite=True)
        time.attrs.update(attrs)
        zarr.consolidate_metadata(self.stage, zarr_format=2)
        if self.path.suffix == ".zarr" and self.clutter is None and np.all(np.diff(order) > 0):
            _replace(self.stage, self.path)
            return
        with xr.open_zarr(self.stage, consolidated=True) as staged, dask.config.set(scheduler="synchronous"):
            sorted_frames = staged.isel(time=order).drop_encoding()
            if self.clutter is not None:
                sorted_frames["rain_rate"] = sorted_frames["rain_rate"].where(~self._clutter(self.clutter))
            write_archive(sorted_frames, self.path)

    def _clutter(self, share: float) -> xr.DataArray:
        frequency = WetFrequency(self.grid.shape)
        for number in range(len(self.times)):
            frequency.update(unpack(np.asarray(self._frames[number])))
        return xr.DataArray(frequency.clutter(share), dims=("y", "x"))


def _is_ours(path: Path) -> bool:
    """Whether an archive is a Zarr store with our packing, which packed frames can be added to."""
    if path.suffix != ".zarr" or not (path / "rain_rate" / ".zarray").exists():
        return False
    frames = zarr.open_array(path / "rain_rate", mode="r", zarr_format=2)
    packing = frames.dtype == np.uint16 and frames.fill_value == PACK_NODATA
    return packing and frames.attrs.get("scale_factor") == PACK_STEP and frames.chunks[0] == 1


def _replace(new: Path, path: Path) -> None:
    """Put a folder where another may be."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)
