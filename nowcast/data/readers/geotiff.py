"""GeoTIFF of rain rate in mm/h as floating-point numbers, as `nowcast.forecast --format geotiff` writes it.

The time is that of the TIFF's own tag (DateTime), or its name tells it; nodata and NaN are NaN.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers._files import package
from nowcast.data.readers._reader import Frame, Reader, centres, make_grid, utc

__all__ = ["Geotiff"]

_MAGIC = (b"II*\0", b"MM\0*")


class Geotiff(Reader):
    """Reads the first band."""

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """A TIFF of floating-point numbers."""
        if head[:4] not in _MAGIC:
            return False
        rasterio = package("rasterio")
        try:
            with rasterio.open(path) as image:
                return np.dtype(image.dtypes[0]).kind == "f"
        except rasterio.errors.RasterioIOError:
            return False  # damaged; no reader will do better

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        with package("rasterio").open(path) as image:
            if image.crs is None or image.transform.b or image.transform.d:
                raise InputError(f"{path} does not tell its place, or is a rotated image; only north-up ones are read")
            rate = image.read(1).astype(np.float32)
            if image.nodata is not None:
                rate[rate == image.nodata] = np.nan
            tags, crs, edge = image.tags(), CRS.from_wkt(image.crs.to_wkt()), image.transform
        time = utc(tags["TIFFTAG_DATETIME"], "%Y:%m:%d %H:%M:%S") if "TIFFTAG_DATETIME" in tags else None
        y, x = centres(edge.c, edge.f, edge.a, -edge.e, rate.shape)
        yield Frame(time, rate, make_grid(y, x, crs), {name: tags[name] for name in ("institution",) if name in tags})
