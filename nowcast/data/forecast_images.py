"""Forecasts as a folder of one image a lead time, for systems that read no CF: GeoTIFF and ODIM HDF5.

Names are those of the forecast reference time and the lead time in minutes, 20160711T210000Z_005.tif. Values are those
of the other outputs, in hundredths of mm/h, and what cannot be said is nodata, which is not dry.
"""

import io
import os
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pyproj import CRS, Proj, Transformer

from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP, unpack
from nowcast.data.forecast_layout import RATE, Layout
from nowcast.data.forecast_output import Folder, write_whole
from nowcast.data.readers._files import package

_UNEVEN = 1e-3  # of a pixel
_SAME_DEGREES = 1e-6  # a tenth of a metre


class Images(Folder):
    """A folder of one file an initial time and lead time, each there as soon as it is made; other files stay.

    Raises:
        InputError: for more than a rain rate, or a grid that has no projection or uneven pixels.
    """

    ending: str

    def __init__(
        self, path: str | os.PathLike, layout: Layout, init_times: np.ndarray, recipe: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(path, layout, init_times, recipe)
        if more := [field.name for field in layout.fields if field.name != RATE.name]:
            raise InputError(
                f"*{self.ending} files hold the rain rate alone, not {', '.join(more)}; name a .nc or .zarr"
            )
        if layout.grid.crs is None:
            raise InputError(f"{self.ending} files need a projection, and the archive has none (no grid_mapping)")
        self.crs, self.edges = _crs(layout), _edges(layout)

    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Put away a forecast."""
        self.path.mkdir(parents=True, exist_ok=True)
        packed = self.layout.pack(fields)[RATE.name]
        for place, rate, lead_s in zip(self._places(number), packed, self.layout.lead_times_s, strict=True):
            hidden = self.work / place.name
            write_whole(hidden, self.encoded(rate, self.init_times[number].astype("datetime64[s]"), lead_s))
            os.replace(hidden, place)

    @abstractmethod
    def encoded(self, packed: np.ndarray, init_time: np.datetime64, lead_s: int) -> bytes:
        """The file of (H, W) values as `pack` gives them."""

    def _places(self, number: int) -> list[Path]:
        stamp = self._stamp(number)
        return [self.path / f"{stamp}_{_lead_name(lead_s)}{self.ending}" for lead_s in self.layout.lead_times_s]


class GeoTiffs(Images):
    """Georeferenced float32 mm/h, deflated, NaN as nodata; times and provenance are tags, TIFF's own the valid time."""

    ending = ".tif"

    def encoded(self, packed: np.ndarray, init_time: np.datetime64, lead_s: int) -> bytes:
        """A GeoTIFF."""
        rasterio = package("rasterio")
        top, left, pixel_y, pixel_x = self.edges
        height, width = packed.shape
        options = {"dtype": "float32", "nodata": np.nan, "compress": "deflate", "predictor": 3, "count": 1}
        place = {"crs": self.crs.to_wkt(), "transform": rasterio.transform.from_origin(left, top, pixel_x, pixel_y)}
        tags = {
            "TIFFTAG_DATETIME": str(init_time + np.timedelta64(lead_s, "s")).replace("-", ":").replace("T", " "),
            "forecast_reference_time": f"{init_time}Z",
            "forecast_period": f"{lead_s} s",
            **{name: str(value) for name, value in self.layout.attrs.items()},
        }
        with rasterio.io.MemoryFile() as memory:
            with memory.open(driver="GTiff", height=height, width=width, **options, **place) as image:
                image.write(unpack(packed), 1)
                image.update_tags(**tags)
                image.set_band_description(1, "rain rate")
                image.units = [RATE.attrs["units"]]
            return bytes(memory.getbuffer())


class OdimFiles(Images):
    """ODIM_H5 version 2.4 composites of RATE, 16 bit: undetect is dry, nodata is not known.

    Nominal, start and end times are the valid time. What ODIM has no words for (reference and lead time, model) stands
    in how/nowcast, as the standard provides for.
    """

    ending = ".h5"

    def encoded(self, packed: np.ndarray, init_time: np.datetime64, lead_s: int) -> bytes:
        """An HDF5 file."""
        stamp = str(init_time + np.timedelta64(lead_s, "s")).replace("-", "").replace(":", "")
        date, time = stamp.split("T")
        attrs = {name: str(value) for name, value in self.layout.attrs.items()}
        forecast = {"reference_time": f"{init_time}Z", "lead_time": float(lead_s)}
        span = {"startdate": date, "starttime": time, "enddate": date, "endtime": time}
        scale = {"gain": PACK_STEP, "offset": 0.0, "nodata": float(PACK_NODATA), "undetect": 0.0}
        groups: dict[str, dict[str, Any]] = {
            "/": {"Conventions": "ODIM_H5/V2_4"},
            "what": {"object": "COMP", "version": "H5rad 2.4", "date": date, "time": time, "source": _source(attrs)},
            "where": self._where(packed.shape),
            "how": {"software": "nowcast", "sw_version": attrs.get("nowcast_version", "")},
            "how/nowcast": {**forecast, **attrs},
            "dataset1/what": {"product": "COMP", "prodname": "nowcast", "quantity": "RATE", **span, **scale},
        }
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for name, values in groups.items():
                for key, value in values.items():
                    file.require_group(name).attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
            data = file.create_dataset("dataset1/data1/data", data=packed, compression="gzip", compression_opts=6)
            data.attrs.update({"CLASS": np.bytes_(b"IMAGE"), "IMAGE_VERSION": np.bytes_(b"1.2")})
        return buffer.getvalue()

    def _where(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Projection and the outer corners, in degrees."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # that PROJ's words may say less than WKT; corners come from them
            words = self.crs.to_proj4()
        words = " ".join(word for word in words.split() if word not in ("+type=crs", "+no_defs"))
        top, left, pixel_y, pixel_x = self.edges
        words += _datum_shift(self.crs, words, left + shape[1] / 2 * pixel_x, top - shape[0] / 2 * pixel_y)
        bottom, right = top - shape[0] * pixel_y, left + shape[1] * pixel_x
        corners = {"LL": (left, bottom), "UL": (left, top), "UR": (right, top), "LR": (right, bottom)}
        to_degrees = (lambda x, y: (x, y)) if self.crs.is_geographic else _inverse(words)
        places = {name: to_degrees(*corner) for name, corner in corners.items()}
        return {
            "projdef": words,
            **{"xsize": shape[1], "ysize": shape[0], "xscale": pixel_x, "yscale": pixel_y},
            **{f"{name}_lon": float(place[0]) for name, place in places.items()},
            **{f"{name}_lat": float(place[1]) for name, place in places.items()},
        }


FORMATS: dict[str, type[Images]] = {"geotiff": GeoTiffs, "odim": OdimFiles}


def _datum_shift(crs: CRS, words: str, x: float, y: float) -> str:
    """What PROJ's words leave out of a datum, as the metres by which its earth lies off that of WGS84 at a place."""
    if crs.is_geographic or "+datum" in words or "+towgs84" in words:
        return ""
    true = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    told = Proj(words)(x, y, inverse=True)
    if np.allclose(true, told, rtol=0, atol=_SAME_DEGREES):
        return ""
    shape = " ".join(word for word in words.split() if word.startswith(("+ellps", "+a=", "+b=", "+rf=", "+R=")))
    apart = np.subtract(_cartesian("+ellps=WGS84", true), _cartesian(shape, told))
    return " +towgs84=" + ",".join(f"{metres:.3f}" for metres in apart)


def _cartesian(earth: str, degrees: tuple[float, float]) -> tuple[float, float, float]:
    """Metres from the centre of an earth, of a longitude and latitude."""
    steps = f"+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=cart {earth}"
    return Transformer.from_pipeline(steps).transform(*degrees, 0.0)


def _inverse(words: str) -> Any:
    project = Proj(words)
    return lambda x, y: project(x, y, inverse=True)


def _crs(layout: Layout) -> CRS:
    assert layout.grid.crs is not None
    attrs = layout.grid.crs.attrs
    return CRS.from_wkt(attrs["crs_wkt"]) if "crs_wkt" in attrs else CRS.from_cf(attrs)


def _edges(layout: Layout) -> tuple[float, float, float, float]:
    """Top, left, and the sizes of a pixel, of a grid of even pixels in the units of its projection."""
    places = []
    for axis in (layout.grid.y, layout.grid.x):
        metres = 1000.0 if str(axis.attrs.get("units", "")).lower() in ("km", "kilometers") else 1.0
        values = axis.values.astype(np.float64) * metres
        step = (values[-1] - values[0]) / max(axis.size - 1, 1)
        if axis.size < 2 or np.abs(np.diff(values) - step).max() > _UNEVEN * abs(step):
            raise InputError(f"an image has pixels of one size, and the archive's {axis.name} is not even")
        places.append((float(values[0] - step / 2), float(abs(step))))
    (top, pixel_y), (left, pixel_x) = places
    return top, left, pixel_y, pixel_x


def _lead_name(lead_s: int) -> str:
    return f"{lead_s // 60:03d}" if lead_s % 60 == 0 else f"{lead_s // 60:03d}m{lead_s % 60:02d}s"


def _source(attrs: Mapping[str, str]) -> str:
    """ODIM names who made a file by identifiers such as ORG:247; of others there is a comment."""
    name = attrs.get("institution", "nowcast")
    return name if name[:4] in ("ORG:", "WMO:", "RAD:", "NOD:", "PLC:", "CTY:", "CMT:") else f"CMT:{name}"
