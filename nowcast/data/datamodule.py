"""RadarData: archives in, batches of windows out, for training, validation and test."""

import multiprocessing
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from nowcast.contracts import Batch, InputError
from nowcast.data.archive import Archive
from nowcast.data.cache import Frames
from nowcast.data.dataset import Cut, Cuts, Packed, RainSampler, SameSource, Source, tiles, unpacked
from nowcast.data.splits import Block, as_block
from nowcast.data.synthetic import Synthesis, synthesize
from nowcast.data.windows import Window, find_windows


@dataclass(frozen=True)
class Crops:
    """What is cut from the frames.

    Args:
        size: height and width of training crops in pixels.
        samples: training crops an epoch.
        floor: how often dry places are drawn beside rainy ones; see `RainSampler`.
        turn: whether training crops are rotated and mirrored at random.
        tile: height and width of the tiles of validation and test; None is the whole frame.
        every: validation and test take every so many windows.
        seed: of the random crops.

    Raises:
        InputError: for a number that is none of such.
    """

    size: int = 128
    samples: int = 1000
    floor: float = 0.02
    turn: bool = True
    tile: int | None = None
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.size, self.samples, self.every, 1 if self.tile is None else self.tile) < 1 or self.floor < 0:
            raise InputError(f"size, samples, every and tile of crops are at least 1, floor at least 0, not {self}")


@dataclass(frozen=True)
class Loading:
    """How batches get to the network.

    Args:
        batch_size: samples a batch.
        workers: processes that read ahead; 0 reads in the training process.
        start_method: of the workers, "fork" or "spawn"; None is the system's.
        cache: folder of decoded frames; None holds them in memory.
        unreadable: share of an archive's frames that may be damaged; windows with such frames are left out.

    Raises:
        InputError: for a number or a word that is none of such.
    """

    batch_size: int = 8
    workers: int = 0
    start_method: str | None = None
    cache: str | None = "data/cache"
    unreadable: float = 0.05

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0 or not 0 <= self.unreadable <= 1:
            raise InputError(f"batch_size is at least 1, workers 0 or more, unreadable from 0 to 1, not {self}")
        if self.start_method not in (None, *multiprocessing.get_all_start_methods()):
            raise InputError(f"start_method is {' or '.join(multiprocessing.get_all_start_methods())}, not {self}")


class RadarData(pl.LightningDataModule):
    """Windows of radar archives, split by event or by blocks of time.

    Where several processes train, each has its own windows; set `use_distributed_sampler` of the trainer to False, as
    `nowcast.train` does, lest Lightning divides them again.

    Args:
        train, val, test: archives of each split: paths, or blocks with begin and end.
        root: folder where relative paths start.
        window: how many past and future frames, how far apart.
        crops: what is cut from the frames.
        loading: batch size, workers, cache.
        synthetic: makes this synthetic radar under root on first use; None for archives that exist.
    """

    def __init__(
        self,
        # Tuples, for of a list the parser would mix each block with the one before it in the same place.
        train: tuple[str | Block, ...],
        val: tuple[str | Block, ...],
        test: tuple[str | Block, ...],
        root: str | None = None,
        window: Window = Window(),
        crops: Crops = Crops(),
        loading: Loading = Loading(),
        synthetic: Synthesis | None = None,
    ) -> None:
        super().__init__()
        self.root, self.window, self.crops, self.loading, self.synthetic = (
            root,
            window,
            crops,
            loading,
            synthetic,
        )
        self.blocks = {"train": train, "val": val, "test": test}
        self.sources: dict[str, list[Source]] = {}
        self.archives: dict[str, list[Archive]] = {}
        self.sampler: RainSampler | None = None
        self.unreadable = 0  # frames of all archives opened so far

    def prepare_data(self) -> None:
        """Make synthetic archives that are not there yet."""
        if self.synthetic is not None:
            synthesize(self.synthetic, Path(self.root or "."))

    def setup(self, stage: str | None = None) -> None:
        """Open the archives of the splits a stage needs and decode them. Raises InputError naming what is wrong."""
        if self.trainer is not None:  # the first process may have looked for what there is memory for
            self.batch_size = self.trainer.strategy.broadcast(self.batch_size)
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage or "", tuple(self.blocks))
        for split in wanted:
            if split not in self.sources:
                self._open(split)
        if "train" in self.sources and self.sampler is None:
            self.sampler = RainSampler(
                self.sources["train"],
                self.crops.size,
                self.crops.samples,
                self.crops.floor,
                self.crops.turn,
                self.crops.seed,
            )
        _, processes = self._share()
        if "train" in wanted and self.crops.samples < processes * self.batch_size:
            raise InputError(
                f"the {self.crops.samples} crops of an epoch (data.crops.samples) are less than a batch of "
                f"{self.batch_size} (data.loading.batch_size)"
                + (f" for each of {processes} processes" if processes > 1 else "")
            )

    @property
    def batch_size(self) -> int:
        """Samples a batch, where Lightning's tuner looks for it."""
        return self.loading.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:  # the tuner halves 1 to 0
        self.loading = replace(self.loading, batch_size=max(size, 1))

    def windows_per_second(self, seconds: float = 1.0) -> float:
        """How fast training batches come when nothing else is done, the first, for which workers start, not counted."""
        batches = iter(self.train_dataloader())
        next(batches, None)
        began, windows = time.perf_counter(), 0
        for batch in batches:
            windows += len(batch["past"])
            if time.perf_counter() - began > seconds:
                break
        return windows / max(time.perf_counter() - began, 1e-9)

    def facts(self) -> dict[str, object]:
        """What a checkpoint must remember of the data to be used rightly on other data."""
        return {
            "step_s": self.window.step_minutes * 60,
            "past_frames": self.window.past_frames,
            "steps": self.window.steps,
            "pixel_m": min(archive.grid.pixel_m for archive in self.archives["train"]),
            "archives": [archive.name for archive in self.archives["train"]],
            "unreadable_frames": self.unreadable,
        }

    def names(self, batch: Batch) -> list[str]:
        """Where the samples of a training batch are from: archive, time of the last past frame, upper left pixel."""
        places = zip(batch["archive"].tolist(), batch["start"].tolist(), batch["corner"].tolist(), strict=True)
        return [
            f"{self.sources['train'][archive].name} at {np.datetime64(start, 's')}, row {row}, column {column}"
            for archive, start, (row, column) in places
        ]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Batches in mm/h, where they are needed."""
        return unpacked(batch)

    def train_dataloader(self) -> DataLoader:
        """Random crops that favour rain."""
        assert self.sampler is not None, "setup comes first"
        self.sampler.divide(*self._share())
        cuts = Cuts(self.sources["train"], self.window.past_frames, self.crops.size)
        return self._loader(cuts, batch_size=self.loading.batch_size, sampler=self.sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """The validation windows, in order."""
        return self._tiled("val")

    def test_dataloader(self) -> DataLoader:
        """The test windows, in order."""
        return self._tiled("test")

    def state_dict(self) -> dict[str, int]:
        """How far training is: epoch, and cuts that each process has had in it."""
        assert self.trainer is not None
        # At the start of an epoch the loop still counts the one before.
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        batches %= max(int(self.trainer.num_training_batches), 1)
        return {"epoch": self.trainer.current_epoch, "done": batches * self.loading.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where another run was interrupted; Lightning calls it before the first batch is drawn."""
        if self.sampler is not None:  # it is training that continues
            self.sampler.set_epoch(state["epoch"])
            self.sampler.done = state["done"]

    def _share(self) -> tuple[int, int]:
        """This process and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _open(self, split: str) -> None:
        blocks = [as_block(entry) for entry in self.blocks[split]]
        if not blocks:
            raise InputError(f"data.{split} lists no archive")
        self.archives[split] = [block.open(self.root) for block in blocks]
        self.sources[split] = []
        for block, archive in zip(blocks, self.archives[split], strict=True):
            windows = find_windows(archive, self.window.frames, self.window.step_minutes, *block.span)
            if not len(windows):
                raise InputError(
                    f"{archive.paths[0]} ({len(archive)} frames) has no {self.window.frames} frames in a row "
                    f"{self.window.step_minutes:g} min apart{_between(block)} for data.{split}"
                )
            frames = Frames(archive, self.loading.cache)
            windows = self._readable(archive, frames, windows)
            self.sources[split].append(Source(archive.name, frames, archive.times, windows))

    def _readable(self, archive: Archive, frames: Frames, windows: np.ndarray) -> np.ndarray:
        """The windows without damaged frames, which are reported, and refused where there are too many."""
        bad = frames.unreadable
        if not len(bad):
            return windows
        said = f"{archive.paths[0]}: {len(bad)} of {len(archive)} frames cannot be read, at {archive.times[bad[0]]}"
        said += " and later" if len(bad) > 1 else ""
        left = windows[~np.isin(windows, bad).any(axis=1)]
        if len(bad) > self.loading.unreadable * len(archive) or not len(left):
            raise InputError(f"{said}; mend the file, or allow a greater share with data.loading.unreadable")
        print(f"{said}: {len(windows) - len(left)} of {len(windows)} windows are left out", file=sys.stderr)
        self.unreadable += len(bad)
        return left

    def test_cuts(self) -> tuple[Cuts, list[Cut]]:
        """All that is tested, in order, to look at single cases: `dataset[cut]` for each cut."""
        return self._fixed("test")

    def _fixed(self, split: str) -> tuple[Cuts, list[Cut]]:
        cuts = tiles(self.sources[split], self.crops.tile, self.crops.every)
        return Cuts(self.sources[split], self.window.past_frames, self.crops.tile), cuts

    def _tiled(self, split: str) -> DataLoader:
        dataset, cuts = self._fixed(split)
        return self._loader(dataset, batch_sampler=SameSource(cuts, self.loading.batch_size, *self._share()))

    def _loader(self, dataset: Cuts, **order: Any) -> DataLoader:
        workers = self.loading.workers
        context = multiprocessing.get_context(self.loading.start_method) if workers else None
        return DataLoader(
            Packed(dataset),
            num_workers=workers,
            multiprocessing_context=context,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # A generator of its own, since beginning to load must not move the random numbers of the training.
            generator=torch.Generator(),
            **order,
        )


def _between(block: Block) -> str:
    return f" between {block.begin or 'its start'} and {block.end or 'its end'}" if block.begin or block.end else ""
