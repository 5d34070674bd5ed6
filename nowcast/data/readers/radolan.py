"""DWD RADOLAN and RADVOR binary composites: RY, RW, YW, RV (rain) and RX, WX, EX, WN (reflectivity), also compressed.

Source: Deutscher Wetterdienst, RADOLAN/RADVOR: Beschreibung des Kompositformats. Checked against the published corners
of the grids and, on random counts and flags, against wradlib 2.9: values and NaN are the same but for counts marked as
negative, which wradlib heeds in RD only. pysteps' importer takes the size of the header from the size of the file,
mirrors north and south, and keeps clutter as dry, so it is not used.

A file is a text header up to the byte ETX, then pixels row by row from the south-west, one byte each or two (little
endian). Of two bytes 12 bits are the value, then flags: 0x1000 filled in, 0x2000 not observed, 0x4000 negative,
0x8000 clutter.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data.archive import Grid
from nowcast.data.readers._files import content
from nowcast.data.readers._reader import Frame, Reader, centres, dbz_to_rate, make_grid, utc
from nowcast.scaling import ZR_A, ZR_B

__all__ = ["Radolan"]

_ETX = b"\x03"
_DBZ = {"RX": 1, "WX": 1, "EX": 1, "WN": 2}  # bytes a pixel
_RAIN = ("RY", "RZ", "RW", "RH", "RB", "RL", "RU", "RV", "RQ", "YW", "EY", "EZ", "EW", "EH", "EB")
_VALUE, _NOT_OBSERVED, _NEGATIVE, _CLUTTER = 0x0FFF, 0x2000, 0x4000, 0x8000
_BYTE_CLUTTER = 249  # 249 is clutter, 250 not observed
# Of each grid (rows, columns): pixels west and south of the reference point at 9° E, 51° N.
_GRIDS = {(900, 900): (450, 450), (1100, 900): (370, 550), (1200, 1100): (470, 600), (1500, 1400): (600, 800)}
_SPHERE, _WGS84 = "+a=6370040 +b=6370040", "+a=6378137 +b=6356752.3142451802"
_FIRST_WGS84_VERSION = 5


class Radolan(Reader):
    """Reads a composite of rain (an accumulation over the interval in its header) or of reflectivity.

    Pixels marked as clutter are not observed. Predictions are stamped with the time they are for.

    Args:
        zr_a, zr_b: of Z = a R^b, for reflectivity.
    """

    def __init__(self, zr_a: float = ZR_A, zr_b: float = ZR_B) -> None:
        self.zr_a, self.zr_b = zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """A header of two letters, day and time, then the number of the composite and the date."""
        return re.match(rb"[A-Z][A-Z0-9]\d{15}BY", head) is not None

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        text, _, body = content(path).partition(_ETX)
        header = Header.parse(text.decode("latin-1"))
        stored = header.pixels(body)[::-1]
        if header.product in _DBZ:
            dbz = header.values(stored) / 2 - 32.5
            rate = np.where(stored == 0, 0, dbz_to_rate(dbz, self.zr_a, self.zr_b)).astype(np.float32)
        else:
            rate = (header.values(stored) * 60 / header.minutes).astype(np.float32)
        rate = np.maximum(rate, 0)  # adjustment to gauges leaves traces below zero; NaN stays
        attrs = {"institution": "Deutscher Wetterdienst", "source": f"RADOLAN {header.product}"}
        yield Frame(header.time, rate, header.grid(), attrs)


@dataclass(frozen=True)
class Header:
    """What the text at the start of a composite says.

    Args:
        product: two letters.
        time: for which it is, UTC.
        precision: what one count stands for.
        minutes: interval of an accumulation.
        shape: rows and columns.
        version: of the format; from 5 on the earth is WGS84, before it a sphere.
    """

    product: str
    time: np.datetime64
    precision: float
    minutes: int
    shape: tuple[int, int]
    version: int

    @classmethod
    def parse(cls, text: str) -> "Header":
        """Raises InputError when a part is missing or the product is none that tells rain."""
        expressions = {
            "precision": r"PR\s*E([-+]?\d+)",
            "minutes": r"INT\s*(\d+)",
            "rows": r"GP\s*(\d+)x",
            "columns": r"GP\s*\d+x\s*(\d+)",
            "version": r"VS\s*(\d+)",
        }
        found = {name: re.search(expression, text) for name, expression in expressions.items()}
        numbers = {name: int(match[1]) for name, match in found.items() if match}
        product = text[:2]
        if missing := found.keys() - numbers.keys():
            raise InputError(f"header {text!r} tells no {', '.join(sorted(missing))}")
        if product not in (*_DBZ, *_RAIN):
            raise InputError(f"product {product} is none of rain or reflectivity ({', '.join((*_RAIN, *_DBZ))})")
        ahead = re.search(r"VV\s*(\d+)", text)
        return cls(
            product=product,
            time=utc(text[2:8] + text[13:17], "%d%H%M%m%y") + np.timedelta64(60 * int(ahead[1]) if ahead else 0, "s"),
            precision=10.0 ** numbers["precision"],
            minutes=numbers["minutes"],
            shape=(numbers["rows"], numbers["columns"]),
            version=numbers["version"],
        )

    def pixels(self, body: bytes) -> np.ndarray:
        """Stored numbers (H, W), row 0 in the south. Raises InputError when they are not as many as the grid has."""
        size = _DBZ.get(self.product, 2)
        wanted = size * self.shape[0] * self.shape[1]
        if len(body) != wanted:
            raise InputError(
                f"{len(body)} bytes of pixels; {self.shape[0]} × {self.shape[1]} of {size} bytes are {wanted}"
            )
        return np.frombuffer(body, "<u2" if size == 2 else np.uint8).reshape(self.shape)

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Numbers in the product's unit, NaN where the flags say clutter or not observed."""
        if stored.dtype == np.uint8:
            return np.where(stored >= _BYTE_CLUTTER, np.nan, stored)
        value = (stored & _VALUE) * np.where(stored & _NEGATIVE, -self.precision, self.precision)
        return np.where(stored & (_NOT_OBSERVED | _CLUTTER), np.nan, value)

    def grid(self) -> Grid:
        """Cell centres in the polar stereographic projection of DWD."""
        if self.shape not in _GRIDS:
            raise InputError(f"{self.shape[0]} × {self.shape[1]} pixels are none of DWD's grids {list(_GRIDS)}")
        earth = _WGS84 if self.version >= _FIRST_WGS84_VERSION else _SPHERE
        definition = f"+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 {earth} +units=m"
        x, y = Proj(definition)(9.0, 51.0)
        west, south = _GRIDS[self.shape]
        top = y - 1000 * south + 1000 * self.shape[0]
        y_centres, x_centres = centres(x - 1000 * west, top, 1000, 1000, self.shape)
        return make_grid(y_centres, x_centres, CRS(definition))
