"""FMI PGM composites (FIN_SUOMI1, plain or .gz): 8-bit reflectivity with the place in comment lines.

The format states corners and a polar stereographic projection; its sphere and origin are FMI's convention for the
area, not in the file.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data.readers import _fmi
from nowcast.data.readers._files import content
from nowcast.data.readers._reader import Frame, Reader, centres, make_grid, utc

__all__ = ["FmiPgm"]


class FmiPgm(Reader):
    """Reads a binary PGM whose comments tell obstime, projection, bottomleft and topright.

    Args:
        zr_a, zr_b: of Z = a R^b.
    """

    def __init__(self, zr_a: float = _fmi.ZR_A, zr_b: float = _fmi.ZR_B) -> None:
        self.zr_a, self.zr_b = zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """A PGM with FMI's comments."""
        return head.startswith(b"P5") and b"# obstime" in head

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        header, stored, largest = _read_pgm(content(path))
        if header.get("type") != "stereographic":
            raise InputError(f"{path} is in projection {header.get('type')}; only stereographic is read")
        definition = (
            f"+proj=stere +lat_0={header['centrallatitude']} +lon_0={header['centrallongitude']} "
            f"+lat_ts={header['truelatitude']} +R=6371288 +x_0=380886.31 +y_0=3395677.92 +units=m"
        )
        project = Proj(definition)
        (left, bottom), (right, top) = (
            project(*np.array(header[corner].split(), dtype=float)) for corner in ("bottomleft", "topright")
        )
        height, width = stored.shape
        grid = make_grid(
            *centres(left, top, (right - left) / width, (top - bottom) / height, stored.shape), CRS(definition)
        )
        rate = _fmi.rate_from_bytes(stored, largest, self.zr_a, self.zr_b)
        yield Frame(utc(header["obstime"], "%Y%m%d%H%M"), rate, grid, _fmi.ATTRS)


def _read_pgm(data: bytes) -> tuple[dict[str, str], np.ndarray, int]:
    """Comments by their first word, pixels (H, W), and the largest value, which is FMI's "not observed"."""
    header: dict[str, str] = {}
    numbers: list[int] = []
    place = 2  # behind P5
    while len(numbers) < 3:
        end = data.index(b"\n", place)
        line, place = data[place:end].decode("latin-1").strip(), end + 1
        if line.startswith("#"):
            word, _, rest = line[1:].strip().partition(" ")
            header[word] = rest.strip()
        else:
            numbers += [int(number) for number in line.split()]
    width, height, largest = numbers
    if len(data) - place < width * height:
        raise InputError(f"cut off: {len(data) - place} of {width * height} pixels")
    return header, np.frombuffer(data, np.uint8, width * height, place).reshape(height, width), largest
