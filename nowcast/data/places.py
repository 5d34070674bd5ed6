"""Where on earth the pixels of grids lie: whether two are the same, and which pixels are nearest to each other."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer

from nowcast.contracts import InputError
from nowcast.data.archive import METRES_PER_DEGREE, Grid

BEYOND = -1  # instead of the number of a pixel, where there is none near


def usual_grid(grids: Sequence[Grid]) -> Grid:
    """The grid that most are the same as; the first of them when it is a tie."""
    return max(grids, key=lambda grid: sum(same_place(grid, other) for other in grids))


def same_place(one: Grid, other: Grid) -> bool:
    """Whether pixels of two grids lie at the same places on earth, to a tenth of a pixel, however that is written."""
    if not one.same(other):
        return False
    if one.crs is None or other.crs is None:
        return one.crs is other.crs
    tenth = 0.1 * one.pixel_m / METRES_PER_DEGREE
    return np.allclose(_corners(one), _corners(other), rtol=0, atol=tenth)


def nearest_pixels(source: Grid, target: Grid) -> np.ndarray:
    """For each pixel of a grid, the pixel of another one in which its centre lies.

    Args:
        source: grid that has the values.
        target: grid that is to have them.

    Returns:
        (H, W) of the target: the number of a pixel of the source, counted row by row, or BEYOND outside of it.

    Raises:
        InputError: when just one of the grids says how it is projected.
    """
    if (source.crs is None) != (target.crs is None):
        raise InputError("one of the grids has no grid mapping, so nobody knows how it lies on the other")
    x, y = np.meshgrid(_in_units_of_crs(target.x), _in_units_of_crs(target.y))
    if source.crs is not None and target.crs is not None and _wkt(source) != _wkt(target):
        x, y = _between(_wkt(target), _wkt(source)).transform(x, y)
    rows, columns = _cell(_in_units_of_crs(source.y), y), _cell(_in_units_of_crs(source.x), x)
    inside = (rows != BEYOND) & (columns != BEYOND)
    return np.where(inside, rows * source.x.size + columns, BEYOND)


def _cell(centres: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The number of the nearest of two or more centres; BEYOND where it is further than half a cell away."""
    order = np.argsort(centres)
    rising = centres[order]
    between = (rising[:-1] + rising[1:]) / 2
    edges = np.concatenate([[2 * rising[0] - between[0]], between, [2 * rising[-1] - between[-1]]])
    found = np.searchsorted(edges, points, side="right") - 1
    inside = (found >= 0) & (found < rising.size)
    return np.where(inside, order[found.clip(0, rising.size - 1)], BEYOND)


def _corners(grid: Grid) -> np.ndarray:
    """Longitude and latitude of the outer pixels, in degrees of a great circle."""
    x, y = np.meshgrid(_in_units_of_crs(grid.x)[[0, -1]], _in_units_of_crs(grid.y)[[0, -1]])
    longitude, latitude = _between(_wkt(grid), "EPSG:4326").transform(x, y)
    return np.stack([np.cos(np.deg2rad(latitude)) * longitude, latitude])


def _in_units_of_crs(axis: xr.DataArray) -> np.ndarray:
    """Coordinates in metres or degrees, which CF lets stand in kilometres too."""
    return axis.values * (1000.0 if str(axis.attrs.get("units", "m")).lower() in ("km", "kilometers") else 1.0)


def _wkt(grid: Grid) -> str:
    assert grid.crs is not None
    return str(grid.crs.attrs.get("crs_wkt") or CRS.from_cf(grid.crs.attrs).to_wkt())


@lru_cache
def _between(source: str, target: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input(source), CRS.from_user_input(target), always_xy=True)
