"""Composites of DWD that the tests write by the published description of the format, and the published corners."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS, Proj

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.readers import Frame

HEADERS = {
    "RY": "RY030955100000814BY1620130VS 3SW   2.13.1PR E-02INT   5GP 900x 900MS 68<boo,ros,emd>",
    "RW": "RW030950100000814BY1620130VS 3SW   2.13.1PR E-01INT  60GP 900x 900MF 00000001VR2017.002MS 68<boo>",
    "RX": "RX030955100000814BY 810130VS 3SW   2.13.1PR E+00INT   5GP 900x 900MS 68<boo,ros,emd>",
    "WN": "WN221500100000620BY2640208VS 5SW P200001HPR E-01INT   5GP1200x1100VV 000MF 00000002MS 66<asb>",
    "RV": "RV311530100001220BY2640209VS 5SW P200001HPR E-02INT   5GP1200x1100VV 120MF 00000008MS 66<asb>",
}


def write(path: Path, product: str, pixels: dict[tuple[int, int], int], fill: int = 0) -> Path:
    """A composite of one number with others at (row from the south, column)."""
    shape = (1200, 1100) if "1200x1100" in HEADERS[product] else (900, 900)
    stored = np.full(shape, fill, dtype=np.uint8 if product == "RX" else "<u2")
    for place, number in pixels.items():
        stored[place] = number
    header = HEADERS[product]
    header = f"{header[:19]}{len(header) + 1 + stored.nbytes:7}{header[26:]}"  # with the length of all of it
    data = header.encode() + b"\x03" + stored.tobytes()
    packer = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(packer(data))
    return path


def only(path: Path) -> Frame:
    """The one frame of a composite."""
    assert readers.detect(path) == "radolan"
    (frame,) = readers.create("radolan").frames(path)
    return frame


@pytest.mark.parametrize(("product", "factor"), [("RY", 0.12), ("RW", 0.1), ("RV", 0.12)])
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_counts_become_mm_an_hour_by_precision_and_interval(
    tmp_path: Path, product: str, factor: float, ending: str
) -> None:
    frame = only(write(tmp_path / f"a{ending}", product, {(2, 3): 1234, (5, 7): 0x1000 | 40}))
    assert frame.rate[-3, 3] == pytest.approx(1234 * factor)  # rows are stored from the south
    assert frame.rate[-6, 7] == pytest.approx(40 * factor)  # filled in from elsewhere, which is no fault
    assert np.count_nonzero(frame.rate) == 2


def test_flags_tell_what_is_not_observed(tmp_path: Path) -> None:
    pixels = {(0, 0): 0x2000 | 2500, (0, 1): 0x8000 | 12, (0, 2): 0x4000 | 3, (0, 3): 5}
    frame = only(write(tmp_path / "a", "RY", pixels))
    assert np.isnan(frame.rate[-1, :2]).all()
    assert frame.rate[-1, 2] == 0
    assert frame.rate[-1, 3] == pytest.approx(0.6)
    assert np.isnan(frame.rate).sum() == 2


@pytest.mark.parametrize(("product", "one_dbz"), [("RX", 2), ("WN", 20)])
def test_reflectivity_is_counted_from_minus_32_and_a_half(tmp_path: Path, product: str, one_dbz: int) -> None:
    missing = [249, 250] if product == "RX" else [0x8000 | 2490, 0x2000 | 2500]
    pixels = {(0, 0): missing[0], (0, 1): missing[1], (0, 2): 53 * one_dbz}  # 20.5 dBZ
    frame = only(write(tmp_path / "a", product, pixels))
    assert np.isnan(frame.rate[-1, :2]).all()
    assert frame.rate[-1, 2] == pytest.approx((10**2.05 / 200) ** (1 / 1.6))
    assert np.nansum(frame.rate > 0) == 1


def test_a_prediction_has_the_time_it_is_for(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a", "RY", {})).time == np.datetime64("2014-08-03T09:55:00")
    assert only(write(tmp_path / "b", "RV", {})).time == np.datetime64("2020-12-31T17:30:00")


# Lower left corners (longitude, latitude) as DWD publishes them, on the sphere and on WGS84.
CORNERS = {"RY": (3.5889, 46.9526), "WN": (3.566994635, 45.69642538)}


@pytest.mark.parametrize("product", CORNERS)
def test_the_corner_of_a_grid_is_where_dwd_says(tmp_path: Path, product: str) -> None:
    grid = only(write(tmp_path / "a", product, {})).grid
    assert grid.crs is not None
    corner = Proj(CRS.from_wkt(grid.crs.crs_wkt))(grid.x.values[0] - 500, grid.y.values[-1] - 500, inverse=True)
    assert corner == pytest.approx(CORNERS[product], abs=1e-4)


def test_a_composite_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "RY", {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="1619900 bytes of pixels"):
        only(path)
