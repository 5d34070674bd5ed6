"""SEVIR VIL HDF5: events of 49 frames of vertically integrated liquid, each in its own place.

Source: Veillette, Samsi and Mattioli, SEVIR: A Storm Event Imagery Dataset for Deep Learning Applications in Radar and
Satellite Meteorology, NeurIPS 2020; times and places stand in its CATALOG.csv.

VIL is no rain rate. Taking a column of even reflectivity of depth h, VIL = 3.44e-6 Z^(4/7) h (Greene and Clark 1972),
which gives Z, and Z = a R^b gives R. A depth of 4.5 km gives the reflectivities of the six VIP levels from their VIL
(Robinson et al. 2002: 0.14, 0.7, 3.5, 6.9, 12, 32 kg/m² for 18, 30, 41, 46, 50, 57 dBZ) to 1.3 dB.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data.archive import Grid
from nowcast.data.readers._files import is_hdf5_with, text
from nowcast.data.readers._reader import Frame, Reader, centres, dbz_to_rate, make_grid
from nowcast.scaling import ZR_A, ZR_B

__all__ = ["SevirVil"]

_MISSING = 255
_ATTRS = {"institution": "Massachusetts Institute of Technology", "source": "SEVIR VIL"}


class SevirVil(Reader):
    """Reads one event of a file.

    Args:
        event: its id, such as S858236; None when the file has only one.
        catalog: CATALOG.csv; None looks for it in the folder of the file and those above.
        depth_km: of the column.
        zr_a, zr_b: of Z = a R^b.
    """

    def __init__(
        self,
        event: str | None = None,
        catalog: str | None = None,
        depth_km: float = 4.5,
        zr_a: float = ZR_A,
        zr_b: float = ZR_B,
    ) -> None:
        self.event, self.catalog = event, catalog
        dbz = vil_to_dbz(bytes_to_vil(np.arange(256)), depth_km)
        self.rate_of = dbz_to_rate(dbz, zr_a, zr_b)

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """HDF5 with the data sets vil and id."""
        return is_hdf5_with(path, head, "vil", "id")

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The frames of the event."""
        with h5py.File(path) as file:
            ids = [text(name) for name in file["id"][()]]
            if self.event is None and len(ids) != 1:
                raise InputError(
                    f"{path} holds {len(ids)} events, each in its own place; name one: {', '.join(ids[:4])} …"
                )
            event = self.event or ids[0]
            if event not in ids:
                raise InputError(f"{path} has no event {event!r}; it has {', '.join(ids[:4])} …")
            stored = file["vil"][ids.index(event)]  # (H, W, T), row 0 in the south
        entry = self._entry(Path(path), event)
        grid = _grid(entry, stored.shape[:2])
        offsets = [int(minutes) for minutes in entry["minute_offsets"].split(":")]
        if len(offsets) != stored.shape[2]:
            raise InputError(
                f"{path}: event {event} has {stored.shape[2]} frames and {len(offsets)} times in CATALOG.csv"
            )
        for number, minutes in enumerate(offsets):
            time = np.datetime64(entry["time_utc"].replace(" ", "T"), "s") + np.timedelta64(minutes * 60, "s")
            yield Frame(
                time, self.rate_of[stored[::-1, :, number]], grid, {"institution": "MIT", "source": "SEVIR VIL"}
            )

    def _entry(self, path: Path, event: str) -> dict[str, str]:
        places = [Path(self.catalog)] if self.catalog else [folder / "CATALOG.csv" for folder in path.parents]
        catalog = next((place for place in places if place.exists()), None)
        if catalog is None:
            raise InputError(f"{path} has no times and places; SEVIR's CATALOG.csv must lie beside it or be named")
        with open(catalog, newline="") as file:
            for entry in csv.DictReader(file):
                if entry["id"] == event and entry["img_type"] == "vil":
                    return entry
        raise InputError(f"{catalog} has no VIL of event {event}")


def bytes_to_vil(stored: np.ndarray) -> np.ndarray:
    """kg/m² of bytes, as the data set's description has it; 255 is NaN."""
    vil = np.where(stored <= 18, (stored - 2) / 90.66, np.exp((stored - 83.9) / 38.9))
    return np.where(stored == _MISSING, np.nan, np.where(stored <= 5, 0, vil))


def vil_to_dbz(vil: np.ndarray, depth_km: float) -> np.ndarray:
    """Reflectivity of a column of even reflectivity; −∞ for none."""
    with np.errstate(divide="ignore"):
        return 17.5 * np.log10(vil / (3.44e-6 * 1000 * depth_km))


def _grid(entry: dict[str, str], shape: tuple[int, int]) -> Grid:
    project = Proj(entry["proj"])
    left, bottom = project(float(entry["llcrnrlon"]), float(entry["llcrnrlat"]))
    right, top = project(float(entry["urcrnrlon"]), float(entry["urcrnrlat"]))
    height, width = shape
    y, x = centres(left, top, (right - left) / width, (top - bottom) / height, shape)
    return make_grid(y, x, CRS(entry["proj"]))
