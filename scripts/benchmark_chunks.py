"""How fast windows and frames come out of an archive, by the size of its chunks: one table row a candidate.

    python scripts/benchmark_chunks.py --archive radar.nc
    python scripts/benchmark_chunks.py --archive radar.nc --tiles '[0, 1024, 256]' --depths '[1, 8]' --ending .nc

Frames of the archive are written anew with each chunk size, and read at random places. A window is what a training
sample needs, past and future frames of a square; a frame is what a forecast needs. Candidates are measured in turn,
round after round, and the median is shown, also relative to the first candidate; a star marks what `nowcast` writes.
Files lie in the page cache of the machine: what is measured is finding and decoding chunks, not the disk.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from nowcast.data.archive import CHUNK, NETCDF_CHUNK, PACKING, Archive, pack
from nowcast.program import run

COLUMNS = ("frames × pixels", "window ms", "relative", "frame ms", "relative", "MB", "files")


@dataclass
class Candidate:
    """A chunk size, the archive written with it, and seconds that reading took."""

    depth: int
    tile: int  # 0 for whole frames
    path: Path
    window: list[float] = field(default_factory=list)
    frame: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Frames × pixels of a chunk, with a star at what `nowcast` writes."""
        written = CHUNK if self.path.suffix == ".zarr" else NETCDF_CHUNK
        pixels = f"{self.tile}²" if self.tile else "all"
        return f"{self.depth} × {pixels}{' *' if (self.depth, self.tile) == (1, written) else ''}"

    def files(self) -> list[Path]:
        """What it is made of on the disk."""
        return [self.path] if self.path.is_file() else [file for file in self.path.rglob("*") if file.is_file()]


def benchmark(
    archive: Path,
    frames: int = 24,
    length: int = 16,
    size: int = 256,
    tiles: list[int] | None = None,
    depths: list[int] | None = None,
    ending: str = ".zarr",
    rounds: int = 15,
    work: Path | None = None,
) -> None:
    """Print a table of reading times by chunk size.

    Args:
        archive: whose first frames are used.
        frames: how many of them.
        length: frames of a window.
        size: pixels a side of a window.
        tiles: pixels a side of a chunk; 0 is a whole frame.
        depths: frames of a chunk.
        ending: .zarr or .nc.
        rounds: windows and frames that are read of each candidate.
        work: folder in which archives are written and removed again; a temporary one unless given.
    """
    source = Archive.open(archive)
    packed = np.stack([pack(source.read(index)) for index in range(min(frames, len(source)))])
    with TemporaryDirectory(dir=work) as folder:
        candidates = [
            write(packed, depth, tile, Path(folder) / f"{depth}_{tile}{ending}")
            for depth in depths or [1, 4, 12]
            for tile in tiles or [0, 1024, 512, 256]
        ]
        measure(candidates, packed.shape, length, size, rounds)
        Console(width=110).print(table(candidates))


def write(packed: np.ndarray, depth: int, tile: int, path: Path) -> Candidate:
    """An archive with chunks of `depth` frames and `tile` pixels a side."""
    chunk = (min(depth, len(packed)), *(min(tile or side, side) for side in packed.shape[1:]))
    dataset = xr.Dataset({"rain_rate": (("time", "y", "x"), packed)})
    if path.suffix == ".zarr":
        dataset.to_zarr(path, encoding={"rain_rate": {"chunks": chunk}}, zarr_format=2, consolidated=True)
    else:
        compressed = {key: PACKING[key] for key in ("zlib", "complevel")}
        dataset.to_netcdf(path, engine="netcdf4", encoding={"rain_rate": {"chunksizes": chunk, **compressed}})
    return Candidate(depth, tile, path)


def measure(candidates: list[Candidate], shape: tuple[int, int, int], length: int, size: int, rounds: int) -> None:
    """Read from each candidate in turn, the same place for all in a round."""
    random = np.random.default_rng(0)
    length, height, width = (min(most, side) for most, side in zip((length, size, size), shape, strict=True))
    for _ in range(rounds):
        start, row, column, index = (
            int(random.integers(side - part + 1))
            for side, part in zip((*shape, shape[0]), (length, height, width, 1), strict=True)
        )
        window = {
            "time": slice(start, start + length),
            "y": slice(row, row + height),
            "x": slice(column, column + width),
        }
        for candidate in candidates:
            candidate.window.append(seconds_to_read(candidate.path, window))
            candidate.frame.append(seconds_to_read(candidate.path, {"time": index}))


def seconds_to_read(path: Path, part: dict[str, slice | int]) -> float:
    """How long a part of an archive takes that is just opened, so that no decoded chunk is at hand."""
    with xr.open_dataset(path, chunks=None) as dataset:
        began = time.perf_counter()
        dataset["rain_rate"].isel(part).load()
        return time.perf_counter() - began


def table(candidates: list[Candidate]) -> Table:
    """A row a candidate; times are relative to the first."""
    shown = Table(*COLUMNS)
    first = candidates[0]
    for candidate in candidates:
        cells = []
        for mine, its in ((candidate.window, first.window), (candidate.frame, first.frame)):
            cells += [f"{1000 * np.median(mine):.1f}", f"{np.median(mine) / np.median(its):.2f}"]
        size = sum(file.stat().st_size for file in candidate.files())
        shown.add_row(candidate.name, *cells, f"{size / 1e6:.1f}", str(len(candidate.files())))
    return shown


if __name__ == "__main__":
    run(benchmark)
