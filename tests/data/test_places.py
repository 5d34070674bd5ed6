"""Where pixels of grids lie on earth."""

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from nowcast.contracts import InputError
from nowcast.data.archive import Grid
from nowcast.data.places import BEYOND, nearest_pixels, same_place


def grid(crs: str | None, y: np.ndarray, x: np.ndarray, units: str = "m") -> Grid:
    mapping = None if crs is None else xr.DataArray(np.int32(0), attrs=CRS.from_user_input(crs).to_cf(), name="crs")
    return Grid(*(xr.DataArray(v, dims=n, name=n, attrs={"units": units}) for n, v in (("y", y), ("x", x))), mapping)


LAEA = "+proj=laea +lat_0=50 +lon_0=10 +ellps=WGS84 +units=m"
STERE = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +ellps=WGS84 +units=m"


def test_pixels_of_another_projection_are_found_where_they_lie_on_earth() -> None:
    """Brute force: of all pixels of the source, the one nearest in its own plane, unless it is a cell away."""
    source = grid(STERE, -4.2e6 + 2000 * np.arange(50)[::-1], -4e4 + 3000 * np.arange(30))
    middle = Transformer.from_crs(STERE, LAEA, always_xy=True).transform(0.0, -4.15e6)
    target = grid(LAEA, middle[1] + 2500 * np.arange(-24, 25)[::-1], middle[0] + 2500 * np.arange(-20, 21))
    found = nearest_pixels(source, target)
    to_source = Transformer.from_crs(LAEA, STERE, always_xy=True)
    for row, column in np.ndindex(found.shape):
        x, y = to_source.transform(float(target.x[column]), float(target.y[row]))
        near_y, near_x = np.abs(source.y.values - y), np.abs(source.x.values - x)
        outside = near_y.min() > 1000 or near_x.min() > 1500
        assert found[row, column] == (BEYOND if outside else near_y.argmin() * 30 + near_x.argmin())
    assert 0.2 < (found == BEYOND).mean() < 0.8


def test_a_grid_is_nearest_to_itself_in_kilometres_too() -> None:
    y, x = 1000.0 * np.arange(7)[::-1], 1000.0 * np.arange(5)
    metres, kilometres = grid(LAEA, y, x), grid(LAEA, y / 1000, x / 1000, "km")
    assert nearest_pixels(kilometres, metres).ravel().tolist() == list(range(35))


def test_the_same_numbers_in_another_projection_are_another_place() -> None:
    y, x = 1000.0 * np.arange(7)[::-1], 1000.0 * np.arange(5)
    assert same_place(grid(LAEA, y, x), grid(LAEA, y, x))
    assert not same_place(grid(LAEA, y, x), grid(LAEA.replace("lon_0=10", "lon_0=10.1"), y, x))


def test_a_grid_that_nobody_placed_is_not_guessed() -> None:
    y, x = 1000.0 * np.arange(7)[::-1], 1000.0 * np.arange(5)
    with pytest.raises(InputError, match="no grid mapping"):
        nearest_pixels(grid(None, y, x), grid(LAEA, y, x))
