"""Archives behind URLs, in a file system that lies in memory and over HTTP from this machine."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data import remote
from nowcast.data.archive import Archive, write_archive
from nowcast.data.datamodule import Crops, Loading, RadarData
from nowcast.data.dataset import unpacked
from nowcast.data.windows import Window
from tests.conftest import moving_rain


@pytest.fixture
def bucket(archive_path: Path, rain: xr.Dataset, tmp_path: Path) -> Iterator[str]:
    """A bucket with the same rain as a NetCDF file and as a Zarr store."""
    write_archive(rain, tmp_path / "moving.zarr")
    memory = fsspec.filesystem("memory")
    memory.put(str(archive_path), "/bucket/moving.nc")
    memory.put(str(tmp_path / "moving.zarr"), "/bucket/moving.zarr", recursive=True)
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("name", ["moving.nc", "moving.zarr"])
def test_an_archive_is_the_same_wherever_it_lies(bucket: str, archive_path: Path, name: str) -> None:
    here, there = Archive.open(archive_path), Archive.open(f"{bucket}/{name}")
    assert there.grid.same(here.grid)
    assert there.name == "moving"
    for index in (0, 17):
        np.testing.assert_array_equal(there.read(index), here.read(index))


def test_a_network_can_be_trained_on_archives_elsewhere(bucket: str, archive_path: Path, tmp_path: Path) -> None:
    """The root may be a URL; what is decoded is kept here, until what lies there changes."""

    def batch(root: str) -> np.ndarray:
        data = RadarData(
            ["moving.nc"], ["moving.nc"], ["moving.nc"], root=root, window=Window(3, 2, 5),
            crops=Crops(size=16, samples=4), loading=Loading(batch_size=4, cache=str(tmp_path)),
        )  # fmt: skip
        data.setup("fit")
        return unpacked(next(iter(data.train_dataloader())))["past"].numpy()

    np.testing.assert_array_equal(batch(bucket), batch(str(archive_path.parent)))
    decoded = set(tmp_path.glob("moving*.npy"))
    batch(bucket)
    assert set(tmp_path.glob("moving*.npy")) == decoded
    write_archive(moving_rain(seed=5), tmp_path / "new.nc")
    fsspec.filesystem("memory").put(str(tmp_path / "new.nc"), "/bucket/moving.nc")
    batch(bucket)
    assert len(set(tmp_path.glob("moving*.npy"))) == len(decoded) + 1


def test_a_pattern_of_urls_is_one_archive(bucket: str, tmp_path: Path) -> None:
    write_archive(moving_rain(start="2020-06-02T12:00"), tmp_path / "next.nc")
    fsspec.filesystem("memory").put(str(tmp_path / "next.nc"), "/bucket/next.nc")
    assert len(Archive.open(f"{bucket}/*.nc")) == 48


def test_http_serves_too(archive_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(archive_path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        np.testing.assert_array_equal(Archive.open(f"{address}/moving.nc").read(3), Archive.open(archive_path).read(3))
        with pytest.raises(InputError, match=r"nothing\.nc does not exist"):
            Archive.open(f"{address}/nothing.nc")
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nowhere/a.nc", r"memory://nowhere/a\.nc does not exist"),
        ("memory://nowhere/*.nc", r"matches no file"),
        ("gopher://host/a.nc", r"gopher://host/a\.nc cannot be reached: .*gopher"),
    ],
)
def test_what_cannot_be_reached_is_named(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Archive.open(url)


def test_paths_below_a_root() -> None:
    assert remote.below("s3://bucket/radar/", "a.nc") == "s3://bucket/radar/a.nc"
    assert remote.below("data", "s3://bucket/a.nc") == "s3://bucket/a.nc"
    assert remote.below("data", "a.nc") == "data/a.nc"
    assert remote.below("s3://bucket", "/here/a.nc") == "/here/a.nc"
    assert remote.below(None, "filecache::s3://bucket/a.nc") == "filecache::s3://bucket/a.nc"
