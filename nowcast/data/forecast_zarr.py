"""Forecasts as one Zarr store, each written into its own chunks."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from nowcast.data.archive import CHUNK
from nowcast.data.forecast_layout import NODATA
from nowcast.data.forecast_output import ForecastOutput, write_whole


class ZarrStore(ForecastOutput):
    """A Zarr store (format 2, consolidated) with room for all forecasts, each a region of whole chunks.

    It grows in the hidden folder, where a mark is set after each forecast.
    """

    def has(self, number: int) -> bool:
        """Whether a forecast is there already."""
        return (self.work / f"{number:06d}.done").exists()

    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Put away a forecast."""
        store = zarr.open_group(self._store, mode="r+", zarr_format=2)
        for name, packed in self.layout.pack(fields).items():
            array = store[name]
            assert isinstance(array, zarr.Array)
            array[number] = packed
        write_whole(self.work / f"{number:06d}.done", b"")

    @property
    def _store(self) -> Path:
        return self.work / "store.zarr"

    def _prepare(self, overwrite: bool) -> None:
        store = zarr.open_group(self._store, mode="w", zarr_format=2, attributes=_plain(self.layout.global_attrs))
        for name, (dims, values, attrs) in self.layout.coordinates(self.init_times).items():
            array = store.create_array(name, data=values, chunks=values.shape or "auto", fill_value=None)
            array.attrs.update({"_ARRAY_DIMENSIONS": list(dims), **_plain(attrs)})
        height, width = (min(size, CHUNK) for size in self.layout.grid.shape)
        for field in self.layout.fields:
            array = store.create_array(
                field.name,
                shape=(len(self.init_times), *self.layout.shape(field)),
                chunks=(*(1,) * (len(field.dims) - 2), height, width),
                dtype="u2",
                fill_value=NODATA,
            )
            array.attrs.update({"_ARRAY_DIMENSIONS": list(field.dims), **_plain(self.layout.attrs_of(field))})
        zarr.consolidate_metadata(self._store, zarr_format=2)

    def _show(self) -> None:
        for partial in self._store.rglob("*.partial"):  # chunks that a killed process was writing
            partial.unlink()
        if self._store.exists():
            if self.path.exists():
                os.replace(self.path, self.work / "replaced.zarr")
            os.replace(self._store, self.path)


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them."""
    arrays = (np.generic, np.ndarray)
    return {key: value.tolist() if isinstance(value, arrays) else value for key, value in attrs.items()}
