"""Files in the HDF5 formats of ODIM, KNMI and SEVIR, written by the tests as the formats are published."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Proj

from nowcast.contracts import InputError
from nowcast.data import readers
from nowcast.data.readers import Frame
from nowcast.data.readers.sevir_vil import bytes_to_vil, vil_to_dbz

h5py = pytest.importorskip("h5py")

LAEA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84"
STORED = np.array([[0, 1, 66, 255], [104, 84, 0, 74], [1, 1, 255, 64]], dtype=np.uint8)


def write_odim(path: Path, quantity: str, high: bool = False, kind: str = "COMP", **what: Any) -> Path:
    """A composite of 3 × 4 pixels of 2 km by 3 km; `high` says what and where at the dataset, as some services do."""
    project = Proj(LAEA)
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        file.create_group("what").attrs.update(
            object=np.bytes_(kind), date=np.bytes_("20180824"), time=np.bytes_("201500"), source=np.bytes_("ORG:247")
        )
        file["dataset1/data1/data"] = STORED
        place = file["dataset1"] if high else file["dataset1/data1"]
        scale = {"gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0, **what}
        place.create_group("what").attrs.update(quantity=quantity, **scale)
        left, bottom = project(1000, -7000, inverse=True)
        where = {"projdef": np.bytes_(LAEA), "LL_lon": left, "LL_lat": bottom, "xscale": 2000.0, "yscale": 3000.0}
        file.create_group("where").attrs.update(where)
    return path


def only(path: Path, name: str, **options: Any) -> Frame:
    """The one frame of a file of a format."""
    assert readers.detect(path) == name
    (frame,) = readers.create(name, **options).frames(path)
    return frame


@pytest.mark.parametrize("high", [False, True])
def test_reflectivity_of_odim_knows_nothing_seen_from_nothing_there(tmp_path: Path, high: bool) -> None:
    frame = only(write_odim(tmp_path / "a.h5", "DBZH", high), "odim_hdf5", zr_a=300, zr_b=1.5)
    assert np.array_equal(np.isnan(frame.rate), STORED == 255)
    assert np.array_equal(frame.rate == 0, STORED == 0)
    assert frame.rate[1, 0] == pytest.approx((10**2 / 300) ** (1 / 1.5))  # byte 104 is 20 dBZ
    assert frame.time == np.datetime64("2018-08-24T20:15:00")
    assert frame.grid.x.values == pytest.approx([2000, 4000, 6000, 8000], abs=1e-3)
    assert frame.grid.y.values == pytest.approx([500, -2500, -5500], abs=1e-3)


def test_accumulations_of_odim_become_rates_by_their_interval(tmp_path: Path) -> None:
    interval = {"startdate": "20180824", "starttime": "235500", "enddate": "20180825", "endtime": "001000"}
    scale = {"gain": 0.1, "offset": 0.0}
    frame = only(write_odim(tmp_path / "a.h5", "ACRR", True, **interval, **scale), "odim_hdf5")
    assert frame.rate[1] == pytest.approx([41.6, 33.6, 0, 29.6])  # mm in a quarter of an hour


def test_what_is_no_image_of_rain_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PVOL"):
        only(write_odim(tmp_path / "volume.h5", "DBZH", kind="PVOL"), "odim_hdf5")
    with pytest.raises(InputError, match="has VRAD, not RATE or ACRR or DBZH"):
        only(write_odim(tmp_path / "wind.h5", "VRAD"), "odim_hdf5")
    with pytest.raises(InputError, match="has DBZH, not RATE"):
        only(write_odim(tmp_path / "dbz.h5", "DBZH"), "odim_hdf5", quantity="RATE")


def write_knmi(path: Path, quantity: str, formula: str, missing: int) -> Path:
    """A composite of KNMI of 3 × 4 pixels of 2.5 km, whose earth is in kilometres."""
    with h5py.File(path, "w") as file:
        file.create_group("overview").attrs.update(
            product_datetime_start=np.bytes_("26-AUG-2010;23:50:00.000"),
            product_datetime_end=np.bytes_("27-AUG-2010;00:00:00.000"),
        )
        file["image1/image_data"] = STORED
        file["image1"].attrs["image_geo_parameter"] = np.bytes_(quantity)
        calibration = {"calibration_formulas": np.bytes_(formula), "calibration_missing_data": [missing]}
        file.create_group("image1/calibration").attrs.update(calibration, calibration_out_of_image=[255])
        place = {"column_offset": 10.0, "row_offset": 1460.0, "pixel_size_x": 2.5, "pixel_size_y": -2.5}
        geographic = file.create_group("geographic")
        geographic.attrs.update({f"geo_{key}": [value] for key, value in place.items()}, geo_dim_pixel="KM,KM")
        projection = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.14 +b=6356.75 +x_0=0 y_0=0"
        geographic.create_group("map_projection").attrs["projection_proj4_params"] = projection
    return path


def test_knmi_accumulations_and_reflectivity_by_the_formula_in_the_file(tmp_path: Path) -> None:
    depth = only(write_knmi(tmp_path / "a.h5", "PRECIP_[MM]", "GEO=0.01*PV+0.0", 255), "knmi_hdf5")
    assert depth.rate[1] == pytest.approx([6.24, 5.04, 0, 4.44])  # hundredths of a mm in ten minutes
    dbz = only(write_knmi(tmp_path / "b.h5", "REFLECTIVITY_[DBZ]", "GEO=0.5*PV+-32.0", 0), "knmi_hdf5")
    assert dbz.rate[1, 0] == pytest.approx((10**2 / 200) ** (1 / 1.6))
    for frame in (depth, dbz):
        assert np.array_equal(np.isnan(frame.rate), STORED == 255)
        assert np.array_equal(frame.rate == 0, STORED == 0)
        assert frame.time == np.datetime64("2010-08-27T00:00:00")
        assert frame.grid.x.values == pytest.approx([26_250, 28_750, 31_250, 33_750])
        assert frame.grid.y.values == pytest.approx([-3_651_250, -3_653_750, -3_656_250])
        assert frame.grid.crs is not None
        assert frame.grid.crs.semi_major_axis == pytest.approx(6_378_140)


def write_sevir(folder: Path, events: list[str]) -> Path:
    """Events of 5 frames of 4 × 4 pixels of 96 km, with the catalogue two folders above."""
    path = folder / "data" / "vil" / "SEVIR_VIL.h5"
    path.parent.mkdir(parents=True)
    vil = np.zeros((len(events), 4, 4, 5), dtype=np.uint8)
    vil[:, 0, 1] = [0, 5, 6, 18, 19]  # the southernmost row
    vil[:, 3, 2] = [254, 255, 100, 1, 0]
    with h5py.File(path, "w") as file:
        file["vil"], file["id"] = vil, np.array(events, dtype="S")
    projection = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere "
    left, bottom = Proj(projection)(-200_000, 100_000, inverse=True)
    right, top = Proj(projection)(184_000, 484_000, inverse=True)
    columns = "id,img_type,time_utc,minute_offsets,llcrnrlat,llcrnrlon,urcrnrlat,urcrnrlon,proj"
    rows = [
        f"{event},{kind},2018-06-01 23:55:00,-10:-5:0:5:10,{bottom},{left},{top},{right},{projection}"
        for event in events
        for kind in ("vis", "vil")
    ]
    (folder / "CATALOG.csv").write_text("\n".join([columns, *rows]))
    return path


def test_an_event_of_sevir_has_its_times_its_place_and_rates(tmp_path: Path) -> None:
    path = write_sevir(tmp_path, ["S1"])
    assert readers.detect(path) == "sevir_vil"
    frames = list(readers.create("sevir_vil").frames(path))
    minutes = [(frame.time - np.datetime64("2018-06-01T23:55:00")).astype(int) // 60 for frame in frames]
    assert minutes == [-10, -5, 0, 5, 10]
    assert frames[0].grid.y.values == pytest.approx([436e3, 340e3, 244e3, 148e3], abs=1)
    assert frames[0].grid.x.values == pytest.approx([-152e3, -56e3, 40e3, 136e3], abs=1)
    south, north = (np.array([frame.rate[place] for frame in frames]) for place in ((3, 1), (0, 2)))
    assert np.array_equal(south[:2], [0, 0])
    assert np.all(np.diff(south[1:]) > 0)
    assert np.array_equal(np.isnan(north), [False, True, False, False, False])


def test_vil_of_the_published_formula_gives_the_reflectivity_of_its_vip_levels() -> None:
    assert bytes_to_vil(np.array([5, 6, 18, 100, 254])) == pytest.approx(
        [0, 0.04412, 0.17648, 1.51264, 79.22], rel=1e-3
    )
    vil, dbz = np.array([0.14, 0.7, 3.5, 6.9, 12, 32]), np.array([18, 30, 41, 46, 50, 57])
    assert np.abs(vil_to_dbz(vil, 4.5) - dbz).max() < 1.3


def test_several_events_of_sevir_must_be_told_apart(tmp_path: Path) -> None:
    path = write_sevir(tmp_path, ["S1", "R2"])
    with pytest.raises(InputError, match=r"2 events.*S1, R2"):
        list(readers.create("sevir_vil").frames(path))
    assert len(list(readers.create("sevir_vil", event="R2").frames(path))) == 5
    (tmp_path / "CATALOG.csv").unlink()
    with pytest.raises(InputError, match="CATALOG"):
        list(readers.create("sevir_vil", event="R2").frames(path))
