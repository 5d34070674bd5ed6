"""Frames decoded once: an archive as packed pixels that every window and every worker reads from."""

import hashlib
import os
from pathlib import Path

import numpy as np

from nowcast.contracts import InputError
from nowcast.data import remote
from nowcast.data.archive import PACK_NODATA, Archive, pack, unpack

BLOCK = 16  # pixels a side of the coarse maps that crops are chosen by
SATURATION = 1.0  # mm/h at which rain counts 63 % of heavy rain in that choice


class Frames:
    """All frames of an archive, uint16 (T, H, W), and coarse maps of how rainy and how observed each place is.

    With a folder the frames lie there in a file that is mapped into memory, so that processes share one copy however
    they were started; without one they are held in memory.

    A frame that cannot be read is all unobserved, and listed in `unreadable`.

    Args:
        archive: to decode.
        folder: of the cache, or None. A cached archive is found again as long as its files are unchanged.
    """

    def __init__(self, archive: Archive, folder: str | os.PathLike | None) -> None:
        self.path = None if folder is None else Path(folder) / f"{archive.name}-{_fingerprint(archive)}.npy"
        self.shape = (len(archive), *archive.grid.shape)
        if self.path is None:
            self._packed = np.empty(self.shape, dtype=np.uint16)
            self.rain, self.known, self.unreadable = self._decode(archive, self._packed)
            return
        coarse = self.path.with_suffix(".coarse.npz")
        if not (self.path.exists() and coarse.exists()):
            self._fill(archive, self.path, coarse)
        with np.load(coarse) as maps:
            self.rain, self.known, self.unreadable = maps["rain"], maps["known"], maps["unreadable"]
        self._packed = np.load(self.path, mmap_mode="r")

    def read(self, frames: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
        """A cut-out (len(frames), height, width) in mm/h; what lies outside the grid is NaN."""
        return unpack(self.packed(frames, row, column, height, width))

    def packed(self, frames: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
        """The same as it is held, uint16 hundredths."""
        _, grid_height, grid_width = self.shape
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + height, grid_height), min(column + width, grid_width)
        inside = self._packed[frames, top:bottom, left:right]
        if inside.shape[1:] == (height, width):
            return inside
        packed = np.full((len(frames), height, width), PACK_NODATA, dtype=np.uint16)
        packed[:, top - row : bottom - row, left - column : right - column] = inside
        return packed

    def __getstate__(self) -> dict:
        state = dict(self.__dict__)
        if self.path is not None:
            del state["_packed"]  # a worker maps the file again instead of receiving its contents
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            self._packed = np.load(self.path, mmap_mode="r")

    def _fill(self, archive: Archive, path: Path, coarse: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            packed = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint16, shape=self.shape)
            rain, known, unreadable = self._decode(archive, packed)
            packed.flush()
            del packed
            part_coarse = coarse.with_name(f".{os.getpid()}.{coarse.name}")
            np.savez(part_coarse, rain=rain, known=known, unreadable=unreadable)
            os.replace(part_coarse, coarse)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _decode(self, archive: Archive, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        maps, unreadable = [], []
        for index in range(len(archive)):
            try:
                rate = archive.read(index)
            except InputError:
                unreadable.append(index)
                rate = np.full(archive.grid.shape, np.nan, np.float32)
            packed[index] = pack(rate)
            maps.append((_blocks(-np.expm1(-np.nan_to_num(rate) / SATURATION)), _blocks(~np.isnan(rate))))
        rain, known = (np.stack(kind).astype(np.float32) for kind in zip(*maps, strict=True))
        return rain, known, np.array(unreadable, dtype=np.int64)


def _blocks(field: np.ndarray) -> np.ndarray:
    """Means over BLOCK×BLOCK pixels; blocks over the edge count what lies beyond it as 0."""
    height, width = field.shape
    padded = np.pad(field.astype(np.float32), ((0, -height % BLOCK), (0, -width % BLOCK)))
    return padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK).mean(axis=(1, 3))


def _fingerprint(archive: Archive) -> str:
    digest = hashlib.sha256()
    for path in archive.paths:
        digest.update(f"{remote.stamp(path)}|{archive.variables}|{BLOCK}|2".encode())
    return digest.hexdigest()[:16]
