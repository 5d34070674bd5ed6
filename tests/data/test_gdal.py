"""Archives and forecast files open at the right place in GDAL (gdalinfo of Debian's gdal-bin)."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from nowcast.data.archive import Grid, write_archive
from nowcast.data.forecast_file import ForecastWriter
from nowcast.data.forecast_layout import Layout
from nowcast.data.readers._reader import centres, make_grid

HEIGHT, WIDTH = 7, 9

# Of each: the projection, a place in it (longitude, latitude), and the pixel sizes west–east and north–south.
GRIDS = {
    "stereographic": (
        "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +a=6370040 +b=6370040 +units=m", (9, 52), (1000, 2000)
    ),
    "stereographic on an earth of its own": (
        "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378140 +b=6356750 +units=m", (4, 53), (1000, 1000)
    ),
    "transverse Mercator": ("EPSG:3067", (25, 62), (250, 500)),
    "oblique Mercator": ("EPSG:21781", (7.5, 47), (1000, 1000)),
    "Swiss oblique Mercator in words": (
        "+proj=somerc +lat_0=46.95 +lon_0=7.44 +x_0=600000 +y_0=200000 +ellps=bessel +units=m", (8, 46.5), (500, 1000)
    ),
    "Lambert azimuthal": (
        "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84", (12, 50), (2000, 1500)
    ),
    "Albers": (
        "+proj=aea +lat_0=-27.7 +lon_0=153.2 +lat_1=-26.2 +lat_2=-29.3 +ellps=GRS80 +units=m", (153, -28), (500, 500)
    ),
    "longitude and latitude": ("EPSG:4326", (-104, 50), (0.02, 0.01)),
    "longitude and latitude on an earth of its own": (
        "+proj=longlat +a=6378160 +b=6356775 +no_defs", (-130, 55), (0.01, 0.01)
    ),
}  # fmt: skip


def write_both(grid: Grid, folder: Path) -> list[Path]:
    """An archive and a forecast file of two frames on a grid; rain falls in the north-west corner only."""
    rate = np.zeros((2, HEIGHT, WIDTH), dtype=np.float32)
    rate[:, 0, 0] = 12
    times = np.array(["2020-06-01T00:00", "2020-06-01T00:05"], dtype="datetime64[ns]")
    archive = xr.Dataset(
        {"rain_rate": (("time", "y", "x"), rate, {"grid_mapping": "crs"}), "crs": grid.crs},
        coords={"time": times, "y": grid.y, "x": grid.x},
    )
    write_archive(archive, folder / "archive.nc")
    layout = Layout(grid, [300, 600], {})
    with ForecastWriter(folder / "forecast.nc", layout, times[1:]) as writer:
        writer.append(layout.pack({"rain_rate": rate}))
    return [folder / "archive.nc", folder / "forecast.nc"]


def gdal(program: str, *arguments: object) -> str:
    """What a program of GDAL prints."""
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdal-bin is not installed")
@pytest.mark.parametrize("name", GRIDS)
def test_gdal_finds_corners_and_rain_where_they_are(tmp_path: Path, name: str) -> None:
    definition, place, pixel = GRIDS[name]
    crs = CRS.from_user_input(definition)
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    left, top = to_degrees.transform(*place, direction="INVERSE")
    y, x = centres(left, top, *pixel, (HEIGHT, WIDTH))
    right, bottom = left + WIDTH * pixel[0], top - HEIGHT * pixel[1]
    corners = [to_degrees.transform(*corner) for corner in ((left, top), (left, bottom), (right, bottom), (right, top))]
    for path in write_both(make_grid(y, x, crs), tmp_path):
        source = f"NETCDF:{path}:rain_rate"
        info = json.loads(gdal("gdalinfo", "-json", source))
        assert len(info["bands"]) == 2
        assert info["bands"][0]["scale"] == pytest.approx(0.01)
        extent = info["wgs84Extent"]["coordinates"][0][:4]  # from the upper left, counter-clockwise
        assert np.asarray(extent) == pytest.approx(np.asarray(corners), abs=2e-5)  # a metre or two, as datum shifts are
        for column, expected in ((0, "1200"), (1, "0")):
            here = to_degrees.transform(x[column], y[0])
            assert gdal("gdallocationinfo", "-valonly", "-wgs84", "-b", 1, source, *here).split() == [expected]
