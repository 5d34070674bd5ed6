"""MeteoSwiss GIF composites: AQC and CPC (accumulations), RZC (rate), on the Swiss grid of 710 × 640 km.

AQC and CPC count half dBZ under Z = 316 R^1.5 in their pixel values, as in pysteps' importer. RZC tells
rates by its colours; their table comes with pysteps, whose file is read without importing it.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers._files import MissingPackage, package
from nowcast.data.readers._reader import Frame, Reader, centres, make_grid, utc

__all__ = ["MchGif"]

_LEFT, _TOP, _SHAPE = 255_000.0, 480_000.0, (640, 710)  # m on the grid CH1903 / LV03
_NAME = re.compile(r"(AQC|CPC|RZC)(\d{9})")  # product, year of the century, day of the year, hour, minute
_NOT_RAIN = [0, 1, 251, 252, 253, 254]


class MchGif(Reader):
    """Reads a GIF of MeteoSwiss; product and time stand in its comment, or else in its name."""

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """A GIF."""
        return head.startswith((b"GIF87a", b"GIF89a"))

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        with package("PIL.Image").open(path) as image:
            comment = image.info.get("comment", b"").decode("latin-1")
            named = _NAME.search(comment) or _NAME.search(Path(path).name)
            if not named:
                raise InputError(f"{path}: neither its comment nor its name says that it is an AQC, CPC or RZC product")
            rate_of = _by_colour(image) if named[1] == "RZC" else _by_value(comment)
            stored = np.asarray(image)
        if stored.shape != _SHAPE:
            raise InputError(f"{path} has {stored.shape} pixels; MeteoSwiss composites have {_SHAPE}")
        y, x = centres(_LEFT, _TOP, 1000, 1000, _SHAPE)
        grid = make_grid(y, x, CRS.from_epsg(21781))
        attrs = {"institution": "MeteoSwiss", "source": f"MeteoSwiss radar composite {named[1]}"}
        yield Frame(utc(named[2], "%y%j%H%M"), rate_of[stored], grid, attrs)


def _by_value(comment: str) -> np.ndarray:
    """mm/h of each pixel value of an accumulation over the minutes that the comment tells (5 unless it does)."""
    minutes = re.search(r"ACCUm=(\d+)", comment)
    depth = (10 ** ((np.arange(256) - 71.5) / 20) / 316) ** (1 / 1.5)
    depth[_NOT_RAIN] = 0
    depth[255] = np.nan
    return (depth * 60 / (int(minutes[1]) if minutes else 5)).astype(np.float32)


def _by_colour(image: Any) -> np.ndarray:
    """mm/h of each pixel value, from the colour that the palette of the image gives it."""
    found = importlib.util.find_spec("pysteps")
    if found is None or found.origin is None:
        raise MissingPackage(
            "RZC images tell rates by colours, whose table comes with pip install 'nowcast[baselines]'"
        )
    table = np.genfromtxt(Path(found.origin).parent / "io" / "mch_lut_8bit_Metranet_v103.txt", skip_header=1)
    rates = {tuple(row[1:4].astype(int)): row[-1] for row in table}
    palette = np.reshape(image.getpalette("RGB"), (-1, 3))
    rate = np.full(256, np.nan, dtype=np.float32)
    rate[: len(palette)] = [rates.get(tuple(colour), np.nan) for colour in palette.tolist()]
    rate[rate > 9999] = np.nan  # the table's code for "not observed"
    return np.maximum(rate, 0)
