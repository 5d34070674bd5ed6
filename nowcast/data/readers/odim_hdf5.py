"""ODIM HDF5 composites: OPERA's (Odyssey, CIRRUS, NIMBUS) and those of many national services.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with the HDF5 file
format, versions 2.0 to 2.4. `nodata` is NaN here and `undetect` is dry, whatever the quantity.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data.readers._files import is_hdf5_with, text
from nowcast.data.readers._reader import Frame, Reader, centres, dbz_to_rate, make_grid, utc
from nowcast.scaling import ZR_A, ZR_B

__all__ = ["OdimHdf5"]

_QUANTITIES = ("RATE", "ACRR", "DBZH", "TH")
_IMAGES = ("COMP", "IMAGE")
_SPAN = ("start", "end")


class OdimHdf5(Reader):
    """Reads one image: rain rate (RATE), accumulation (ACRR) or reflectivity (DBZH, TH).

    Args:
        quantity: which; None takes the first there is of RATE, ACRR, DBZH, TH.
        zr_a, zr_b: of Z = a R^b, for reflectivity.
    """

    def __init__(self, quantity: str | None = None, zr_a: float = ZR_A, zr_b: float = ZR_B) -> None:
        if quantity not in (None, *_QUANTITIES):
            raise InputError(f"odim_hdf5 reads the quantities {', '.join(_QUANTITIES)}, not {quantity}")
        self.wanted = _QUANTITIES if quantity is None else (quantity,)
        self.zr_a, self.zr_b = zr_a, zr_b

    @staticmethod
    def recognises(path: Path, head: bytes) -> bool:
        """HDF5 with the top-level groups that ODIM demands."""
        return is_hdf5_with(path, head, "@Conventions", "what", "where", "dataset1")

    def frames(self, path: str | os.PathLike) -> Iterator[Frame]:
        """The one frame of a file."""
        with h5py.File(path) as file:
            what = file["what"].attrs
            kind = text(what["object"])
            if kind not in _IMAGES:
                raise InputError(f"{path} holds the ODIM object {kind}; only images ({', '.join(_IMAGES)}) are read")
            images = _images(file)
            quantity = next((name for name in self.wanted if name in images), None)
            if quantity is None:
                raise InputError(f"{path} has {', '.join(images) or 'no image'}, not {' or '.join(self.wanted)}")
            data, attrs, place = images[quantity]
            rate = self._rate(data[()], attrs, quantity)
            time = utc(text(what["date"]) + text(what["time"]), "%Y%m%d%H%M%S")
            source = text(what.get("source", ""))
            y, x, crs = _place({**file["where"].attrs, **place}, rate.shape)
        yield Frame(time, rate, make_grid(y, x, crs), {"institution": source, "source": f"ODIM {quantity} composite"})

    def _rate(self, stored: np.ndarray, attrs: dict[str, Any], quantity: str) -> np.ndarray:
        values = stored * float(attrs.get("gain", 1)) + float(attrs.get("offset", 0))
        if quantity == "RATE":
            rate = values.astype(np.float32)
        elif quantity == "ACRR":
            start, end = (utc(text(attrs[f"{w}date"]) + text(attrs[f"{w}time"]), "%Y%m%d%H%M%S") for w in _SPAN)
            rate = (values / ((end - start) / np.timedelta64(1, "h"))).astype(np.float32)
        else:
            rate = dbz_to_rate(values, self.zr_a, self.zr_b)
        rate[stored == attrs.get("undetect", np.nan)] = 0
        rate[(stored == attrs.get("nodata", np.nan)) | ~np.isfinite(values)] = np.nan
        return rate


def _images(file: Any) -> dict[str, tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Of each quantity in a file its first image: the data set, its `what` attributes, its own `where` attributes.

    `what` and `where` may stand at the data, or above it at the dataset; what stands lower counts.
    """
    images: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {}
    for dataset in (file[name] for name in sorted(file) if name.startswith("dataset")):
        for data in (dataset[name] for name in sorted(dataset) if name.startswith("data")):
            what, where = (
                {key: value for group in (dataset, data) if name in group for key, value in group[name].attrs.items()}
                for name in ("what", "where")
            )
            if "quantity" in what and "data" in data:
                images.setdefault(text(what["quantity"]), (data["data"], what, where))
    return images


def _place(where: dict[str, Any], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, CRS]:
    """Cell centres and projection. Corners are the outer ones of the corner pixels."""
    definition = text(where["projdef"])
    crs, project = CRS.from_user_input(definition), Proj(definition)
    height, width = shape
    if "UL_lon" in where:
        left, top = project(float(where["UL_lon"]), float(where["UL_lat"]))
    else:
        left, bottom = project(float(where["LL_lon"]), float(where["LL_lat"]))
        top = bottom + height * float(where["yscale"])
    y, x = centres(left, top, float(where["xscale"]), float(where["yscale"]), (height, width))
    return y, x, crs
