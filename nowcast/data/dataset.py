"""Samples cut out of archives: which window, which place, which way up."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from nowcast.contracts import Batch, InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP
from nowcast.data.cache import BLOCK, Frames


class Cut(NamedTuple):
    """Where a sample comes from; `turn` 0–7 is one of the rotations and reflections of a square."""

    source: int
    window: int
    row: int
    column: int
    turn: int = 0


@dataclass
class Source:
    """An archive with its windows, ready for cutting.

    Args:
        name: of the archive.
        frames: its decoded frames.
        times: of the frames, datetime64.
        windows: (number, T_in + T_out) frame indices.
    """

    name: str
    frames: Frames
    times: np.ndarray
    windows: np.ndarray


class Cuts(Dataset):
    """Maps a Cut to a sample of a Batch; holds no order of its own.

    Args:
        sources: to cut from.
        past_frames: how many frames of a window are past.
        size: height and width of the cuts; None is the whole frame.
    """

    def __init__(self, sources: Sequence[Source], past_frames: int, size: int | None) -> None:
        self.sources, self.past_frames, self.size = list(sources), past_frames, size

    def __getitem__(self, cut: Cut) -> Batch:
        return unpacked(self.packed(cut))

    def packed(self, cut: Cut) -> Batch:
        """A sample with hundredths of mm/h as `unpacked` takes them, which processes pass on in half the bytes."""
        source = self.sources[cut.source]
        frames = source.windows[cut.window]
        height, width = (self.size, self.size) if self.size else source.frames.shape[1:]
        packed = source.frames.packed(frames, cut.row, cut.column, height, width)
        rate = turned(torch.from_numpy(packed.view(np.int16)), cut.turn).unsqueeze(1)  # (T, 1, H, W)
        start = source.times[frames[self.past_frames - 1]].astype("datetime64[s]").astype(np.int64)
        return Batch(
            past=rate[: self.past_frames],
            future=rate[self.past_frames :],
            start=torch.tensor(start),
            archive=torch.tensor(cut.source),
            corner=torch.tensor([cut.row, cut.column]),
        )


class Packed(Dataset):
    """Samples of cuts as `Cuts.packed` gives them, for data loaders."""

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts

    def __getitem__(self, cut: Cut) -> Batch:
        return self.cuts.packed(cut)


def unpacked(batch: Batch) -> Batch:
    """A batch of hundredths of mm/h, the bits of uint16 in int16, in mm/h with NaN, on whatever device it is."""
    return Batch(**{**batch, "past": _rate(batch["past"]), "future": _rate(batch["future"])})


def _rate(packed: torch.Tensor) -> torch.Tensor:
    # Divided by a tensor: instead of by a number a GPU multiplies by its inverse, and a last digit decides on events.
    whole = torch.full((), 1 / PACK_STEP, device=packed.device)
    rate = torch.where(packed < 0, packed + 2.0**16, packed.float()) / whole
    return torch.where(packed == PACK_NODATA - 2**16, torch.nan, rate)


def turned(field: torch.Tensor, turn: int) -> torch.Tensor:
    """Rotate (..., H, W) by turn % 4 quarter turns, and mirror it when turn ≥ 4."""
    field = torch.rot90(field, turn % 4, (-2, -1))
    return (field.flip(-1) if turn >= 4 else field).contiguous()


class RainSampler(Sampler[Cut]):
    """Random cuts that favour rain: the chance of a place is `floor` plus its mean saturated rain over the window.

    The floor lets dry windows appear. The same seed and epoch give the same cuts. Importance sampling of this kind is
    used by Ravuri et al. 2021 (doi 10.1038/s41586-021-03854-z).

    Args:
        sources: to cut from.
        size: height and width of the cuts.
        samples: how many an epoch.
        floor: weight of a dry place; a place where all is heavy rain has 1 + floor.
        turn: whether cuts are rotated and mirrored at random.
        seed: of all epochs.

    Attributes:
        epoch: which cuts; see `set_epoch`.
        done: how many of this epoch's cuts this process had before it was interrupted; they are not drawn again.
    """

    LEAST_KNOWN = 0.5  # cuts with less radar coverage teach little

    def __init__(
        self,
        sources: Sequence[Source],
        size: int,
        samples: int,
        floor: float = 0.02,
        turn: bool = True,
        seed: int = 0,
    ) -> None:
        self.sources, self.size, self.samples = sources, size, samples
        self.turn, self.seed, self.epoch, self.done = turn, seed, 0, 0
        self.process, self.processes = 0, 1
        maps = [self._weights(source, floor) for source in sources]
        self._shapes = [weights.shape for weights in maps]
        self._ends = np.cumsum([weights.size for weights in maps])
        self._cumulative = np.cumsum(np.concatenate([weights.ravel() for weights in maps]).astype(np.float64))
        if self._cumulative[-1] <= 0:
            raise InputError(
                f"no place of the training archives has {self.LEAST_KNOWN:.0%} radar coverage in {size} pixels"
            )

    def __len__(self) -> int:
        return self.samples // self.processes

    def __iter__(self) -> Iterator[Cut]:
        random = np.random.default_rng([self.seed, self.epoch])
        places = np.searchsorted(self._cumulative, random.uniform(0, self._cumulative[-1], self.samples), side="right")
        jitter = random.integers(0, BLOCK, (self.samples, 2))
        turns = random.integers(0, 8, self.samples) if self.turn else np.zeros(self.samples, int)
        # All processes draw the same cuts and take turns, so that a step of all of them sees what one would see.
        own = slice(self.done * self.processes + self.process, len(self) * self.processes, self.processes)
        for place, (down, right), turn in zip(places[own], jitter[own], turns[own], strict=True):
            source = int(np.searchsorted(self._ends, place, side="right"))
            first = self._ends[source - 1] if source else 0
            window, block_row, block_column = np.unravel_index(place - first, self._shapes[source])
            room = (max(length - self.size, 0) for length in self.sources[source].frames.shape[1:])
            corner = (block_row * BLOCK + down, block_column * BLOCK + right)
            row, column = (int(min(at, most)) for at, most in zip(corner, room, strict=True))
            yield Cut(source, int(window), row, column, int(turn))

    def set_epoch(self, epoch: int) -> None:
        """Choose other cuts for another epoch (Lightning calls it)."""
        if epoch != self.epoch:
            self.epoch, self.done = epoch, 0

    def divide(self, process: int, processes: int) -> None:
        """Give this process its own cuts, as many as every other."""
        self.process, self.processes = process, processes

    def _weights(self, source: Source, floor: float) -> np.ndarray:
        """(windows, block rows, block columns): the weight of a cut whose upper left corner is in that block."""
        rain, known = (_box_means(field, -(-self.size // BLOCK)) for field in (source.frames.rain, source.frames.known))
        # Frame by frame of the windows, so that memory does not grow with their length.
        weights = sum(rain[frames] for frames in source.windows.T) / source.windows.shape[1] + floor
        least = functools.reduce(np.minimum, (known[frames] for frames in source.windows.T))
        return np.where(least >= self.LEAST_KNOWN, weights, 0)


def _box_means(maps: np.ndarray, side: int) -> np.ndarray:
    """Means of (T, h, w) over every side×side box that lies inside (over the whole where the map is smaller)."""
    rows, columns = min(side, maps.shape[1]), min(side, maps.shape[2])
    sums = np.pad(maps.astype(np.float64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    boxes = (
        sums[:, rows:, columns:] - sums[:, :-rows, columns:] - sums[:, rows:, :-columns] + sums[:, :-rows, :-columns]
    )
    return boxes / side**2


def tiles(sources: Sequence[Source], size: int | None, every: int) -> list[Cut]:
    """Cuts that cover every `every`-th window once: tiles side by side, those over the edge unobserved there.

    Args:
        sources: to cut from.
        size: of a tile; None is the whole frame.
        every: how many windows to step on.
    """
    cuts = []
    for number, source in enumerate(sources):
        _, height, width = source.frames.shape
        rows, columns = (range(0, height, size), range(0, width, size)) if size else ((0,), (0,))
        for window in range(0, len(source.windows), every):
            cuts += [Cut(number, window, row, column) for row in rows for column in columns]
    return cuts


class SameSource(Sampler[list[Cut]]):
    """Batches of given cuts in their order, each from one source, since grids differ in size.

    Several processes share the batches, each of which goes to one of them alone.

    Args:
        cuts: sorted by source.
        batch_size: most cuts in a batch; smaller where processes would be left without one.
        process, processes: whose batches these are, and among how many they are shared.
    """

    def __init__(self, cuts: Sequence[Cut], batch_size: int, process: int = 0, processes: int = 1) -> None:
        if len(cuts) < processes:
            raise InputError(
                f"{len(cuts)} windows to validate or test with are too few for {processes} processes; take more "
                "of them (data.crops.every), or fewer devices"
            )
        batch_size = min(batch_size, len(cuts) // processes)  # so that none is left without a batch
        self.batches: list[list[Cut]] = []
        for cut in cuts:
            last = self.batches[-1] if self.batches else None
            if last and last[0].source == cut.source and len(last) < batch_size:
                last.append(cut)
            else:
                self.batches.append([cut])
        self.batches = self.batches[process::processes]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Cut]]:
        return iter(self.batches)
