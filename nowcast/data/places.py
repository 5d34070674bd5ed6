"""Whether grids are the same places on earth, however files put it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from pyproj import CRS, Transformer

from nowcast.data.archive import METRES_PER_DEGREE, Grid


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


def _corners(grid: Grid) -> np.ndarray:
    """Longitude and latitude of the outer pixels, in degrees of a great circle."""
    assert grid.crs is not None
    wkt = grid.crs.attrs.get("crs_wkt") or CRS.from_cf(grid.crs.attrs).to_wkt()
    x, y = np.meshgrid(grid.x.values[[0, -1]], grid.y.values[[0, -1]])
    longitude, latitude = _to_degrees(wkt).transform(x, y)
    return np.stack([np.cos(np.deg2rad(latitude)) * longitude, latitude])


@lru_cache
def _to_degrees(wkt: str) -> Transformer:
    return Transformer.from_crs(CRS.from_wkt(wkt), "EPSG:4326", always_xy=True)
