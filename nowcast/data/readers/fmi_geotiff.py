"""FMI GeoTIFF composites (…_FINUTM.tif): 8-bit reflectivity on the national grid ETRS-TM35FIN.

Gain, offset, nodata and time stand in a GDAL metadata item of the file.
"""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers import _fmi
from nowcast.data.readers._files import package
from nowcast.data.readers._reader import Frame, Reader, centres, make_grid, utc
from nowcast.data.readers.geotiff import Geotiff

__all__ = ["FmiGeotiff"]


class FmiGeotiff(Reader):
    """Reads the first band of a GeoTIFF of reflectivity.

    Args:
        zr_a, zr_b: of Z = a R^b.
    """

    def __init__(self, zr_a: float = _fmi.ZR_A, zr_b: float = _fmi.ZR_B) -> None:
        self.zr_a, self.zr_b = zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """A TIFF, unless it holds floating-point numbers."""
        return head[:4] in (b"II*\0", b"MM\0*") and not Geotiff.recognises(path, head)

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        rasterio = package("rasterio")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            image = rasterio.open(path)
        with image:
            if image.crs is None:
                raise InputError(f"{path} does not tell its place, or is cut off before it does")
            if image.transform.b or image.transform.d:
                raise InputError(f"{path} is a rotated image; only north-up ones are read")
            stored = image.read(1)
            items = dict(re.findall(r'<Item name="([^"]*)"[^>]*>([^<]*)<', image.tags().get("GDAL_METADATA", "")))
            crs, edge = CRS.from_wkt(image.crs.to_wkt()), image.transform
        if stored.dtype != np.uint8:
            raise InputError(f"{path} holds {stored.dtype}, FMI's reflectivity is 8 bit")
        scale = {"gain": float(items.get("Gain", 0.5)), "offset": float(items.get("Offset", -32))}
        rate = _fmi.rate_from_bytes(stored, int(items.get("Nodata", 255)), self.zr_a, self.zr_b, **scale)
        time = utc(items["Observation time"], "%Y%m%d%H%M") if "Observation time" in items else None
        y, x = centres(edge.c, edge.f, edge.a, -edge.e, stored.shape)
        yield Frame(time, rate, make_grid(y, x, crs), _fmi.ATTRS)
