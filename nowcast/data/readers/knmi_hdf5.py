"""KNMI HDF5 composites: accumulations (RAD_NL25_RAP_5min, RAC_MFBS …) and reflectivity (RAD_NL25_PCP).

Source: Roozekrans and Holleman, KNMI HDF5 Data Format Specification, v3.5, KNMI TR-264 (2003).
The projection is given there in kilometres and becomes one in metres.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pyproj import CRS

from nowcast.contracts import InputError
from nowcast.data.readers._files import is_hdf5_with, text
from nowcast.data.readers._reader import Frame, Reader, dbz_to_rate, make_grid, utc
from nowcast.scaling import ZR_A, ZR_B

__all__ = ["KnmiHdf5"]

_PLACE = ("pixel_size_x", "pixel_size_y", "column_offset", "row_offset")


class KnmiHdf5(Reader):
    """Reads image1 of a KNMI file, calibrated by the formula in it; accumulations by its start and end times.

    Args:
        zr_a, zr_b: of Z = a R^b, for reflectivity.
    """

    def __init__(self, zr_a: float = ZR_A, zr_b: float = ZR_B) -> None:
        self.zr_a, self.zr_b = zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """HDF5 with an overview, an image and a geographic group."""
        return is_hdf5_with(path, head, "overview", "image1/image_data", "geographic")

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        with h5py.File(path) as file:
            image, overview = file["image1"], file["overview"].attrs
            stored = image["image_data"][()]
            start, end = (_time(text(overview[f"product_datetime_{which}"])) for which in ("start", "end"))
            calibration = image["calibration"].attrs
            values = _calibrated(stored, text(calibration["calibration_formulas"]))
            quantity = text(image.attrs["image_geo_parameter"]).upper()
            if "[MM]" in quantity:
                hours = (end - start) / np.timedelta64(1, "h")
                if hours <= 0:
                    raise InputError(f"{path}: accumulation from {start} to {end}")
                rate = (values / hours).astype(np.float32)
            elif "[DBZ]" in quantity:
                # 0 is both "missing" and the lowest step of reflectivity images: nothing detected
                rate = np.where(stored == 0, 0, dbz_to_rate(values, self.zr_a, self.zr_b)).astype(np.float32)
            else:
                raise InputError(f"{path} holds {quantity}, neither precipitation in mm nor reflectivity in dBZ")
            for kind in ("missing_data", "out_of_image"):
                code = int(np.ravel(calibration[f"calibration_{kind}"])[0])
                if code:
                    rate[stored == code] = np.nan
            y, x, crs = _place(file["geographic"], rate.shape)
            source = text(overview.get("product_group_name", "KNMI radar composite"))
        north_up = slice(None) if y[0] > y[-1] else slice(None, None, -1)
        grid = make_grid(y[north_up], x, crs)
        yield Frame(end, rate[north_up], grid, {"institution": "KNMI", "source": source})


def _time(stamp: str) -> np.datetime64:
    return utc(stamp.split(".")[0].title(), "%d-%b-%Y;%H:%M:%S")


def _calibrated(stored: np.ndarray, formula: str) -> np.ndarray:
    """Physical values by a formula such as GEO=0.5*PV-32.0."""
    number = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
    found = re.fullmatch(rf"GEO={number}\*PV{number}?", formula.replace(" ", "").replace("+-", "-"))
    if not found:
        raise InputError(f"calibration {formula!r} is not GEO=gain*PV+offset")
    return stored * float(found[1]) + float(found[2] or 0)


def _place(geographic: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, CRS]:
    """Cell centres and projection in metres; y falls when the pixel size in y is negative."""
    place = {name: float(np.ravel(geographic.attrs[f"geo_{name}"])[0]) for name in _PLACE}
    unit = 1000.0 if text(geographic.attrs["geo_dim_pixel"]).upper().startswith("KM") else 1.0
    columns, rows = (np.arange(size) + 0.5 for size in shape[::-1])
    x = unit * place["pixel_size_x"] * (place["column_offset"] + columns)
    y = unit * place["pixel_size_y"] * (place["row_offset"] + rows)
    parameters = text(geographic["map_projection"].attrs["projection_proj4_params"]).split()
    projection = dict(part.lstrip("+").split("=") for part in parameters)
    if float(projection["a"]) < 1e5:  # an earth of some 6378 is one in kilometres
        for key in projection.keys() & {"a", "b", "x_0", "y_0"}:
            projection[key] = str(1000 * float(projection[key]))
    return y, x, CRS.from_dict(projection)
