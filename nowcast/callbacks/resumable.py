"""Resumable: a run that is killed at any moment continues exactly."""

import os
import random
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger

from nowcast.callbacks.curves import Curves
from nowcast.checkpoints import LAST, NEXT, PREVIOUS
from nowcast.processes import from_all
from nowcast.training import NowcastTask


class Resumable(pl.Callback):
    """Keeps last.ckpt with all that a run needs to continue as if nothing had happened, and the one before it.

    It is saved at the start of each epoch, every so many optimiser steps, and at the end. Beside what Lightning saves
    (weights, optimiser, schedule, loops, callbacks) it holds the random states and the epoch's losses of every process,
    and the data module's place in the epoch. A run that ends removes previous.ckpt.

    It is to be the first of the trainer's callbacks: what others do at the start of an epoch is done again by a run
    that continues there, and what they do to the weights at the end is not to be continued from.

    Args:
        folder: of the run.
        every: optimiser steps between checkpoints within an epoch; None saves between epochs only.
    """

    def __init__(self, folder: Path, every: int | None = None) -> None:
        self.folder, self.every = folder, every
        self._saved = 0  # optimiser step of the last checkpoint
        self._seen = 0  # optimiser step after the last batch
        self._validated = False  # whether there was a validation since
        # Of each process, its states in the checkpoint that is continued; None when training has begun.
        self._processes: list[dict[str, Any]] | None = []

    def setup(self, trainer: pl.Trainer, task: pl.LightningModule, stage: str) -> None:
        """All processes write into the first one's folder."""
        self.folder = Path(trainer.strategy.broadcast(str(self.folder)))

    def on_save_checkpoint(self, trainer: pl.Trainer, task: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what each process has of its own, and see that the curves are in their file."""
        own = {"random": random_state(), "losses": cast(NowcastTask, task).losses}
        checkpoint["processes"] = from_all(trainer, own)
        # At the start of a batch it is fetched but not trained on: for whoever continues, it has not been begun.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        if progress["current"]["ready"] > progress["current"]["completed"]:
            for counts in (progress["total"], progress["current"]):
                counts["ready"] = counts["completed"]
            progress["is_last_batch"] = False
        checkpoint["wandb"] = next((it.version for it in trainer.loggers if isinstance(it, WandbLogger)), None)
        for logger in trainer.loggers:
            logger.save()

    def on_load_checkpoint(self, trainer: pl.Trainer, task: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the states until training starts, and cut off what curves show of what is done again."""
        self._processes = checkpoint.get("processes", [])
        self._saved = self._seen = checkpoint["global_step"]
        if trainer.state.fn == "fit" and trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, Curves):
                    logger.keep(checkpoint["global_step"])

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Save between epochs, where all of the one before is done and logged."""
        self._restore(trainer, task)
        # Lightning would take the batches of that one, which a checkpoint of this moment counts, for those of this one.
        trainer.fit_loop.epoch_loop.restarting = False
        if trainer.global_step:
            self._save(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int) -> None:
        """Save after so many optimiser steps, when the last of them is logged."""
        self._restore(trainer, task)
        stepped, self._seen = trainer.global_step != self._seen, trainer.global_step
        # Lightning cannot say of such a checkpoint whether the validation was done; the next batch will do.
        validated, self._validated = self._validated, False
        if self.every and stepped and not validated and trainer.global_step - self._saved >= self.every:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Remember it until the next batch."""
        self._validated = True

    def on_train_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Save at the end, after which the checkpoint before it is of no more use."""
        self._save(trainer)
        if trainer.is_global_zero:
            (self.folder / PREVIOUS).unlink(missing_ok=True)

    def _restore(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Before the first batch, set the states of the checkpoint, or else random numbers of each process's own."""
        states, self._processes = self._processes, None
        if not states:
            if states is not None and trainer.global_rank:
                torch.manual_seed(torch.initial_seed() + trainer.global_rank)
        elif len(states) == trainer.world_size:
            cast(NowcastTask, task).losses = states[trainer.global_rank]["losses"]
            set_random_state(states[trainer.global_rank]["random"])
        else:
            trainer.print(
                f"the checkpoint is of {len(states)} processes, this run has {trainer.world_size}: it continues, "
                "but not exactly as that one would have"
            )

    def _save(self, trainer: pl.Trainer) -> None:
        if getattr(trainer, "fast_dev_run", False) or self._saved == trainer.global_step:
            return
        self._saved = trainer.global_step
        # Whole before anything is renamed, so that the newest is there at any moment.
        trainer.save_checkpoint(self.folder / NEXT)
        if trainer.is_global_zero:
            if (self.folder / LAST).exists():
                os.replace(self.folder / LAST, self.folder / PREVIOUS)
            os.replace(self.folder / NEXT, self.folder / LAST)


def random_state() -> dict[str, Any]:
    """The state of all random generators of this process, as plain data."""
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (libraries draw from it)
    state = {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(words, np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else state


def set_random_state(state: dict[str, Any]) -> None:
    """Set all random generators of this process."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
