"""Tracking: what a run is and how it fares, told to whatever loggers it has."""

import os
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import psutil
import torch
import yaml

from nowcast.callbacks.facts import facts_of, model_card
from nowcast.callbacks.loggers import is_due, log_facts, log_outcome, log_picture, takes_pictures
from nowcast.data.datamodule import RadarData
from nowcast.report.skill import plot_skill
from nowcast.training import NowcastTask
from nowcast.verification import by_forecast

CONFIG, CARD = "config.yaml", "model_card.md"
SKILL = "validation_skill.png"
GIB = 2**30


class Tracking(pl.Callback):
    """Logs facts of the run once, learning rate and memory with every logged step, and skill at each validation.

    Facts (config, commit, fingerprint of the data, number of parameters) go to the loggers as hyper-parameters and into
    the run folder as model_card.md. Memory is that of the first process and its device, in GiB: `memory_gib` now,
    `device_memory_gib` at most so far. The figure of skill by lead time is drawn where a logger shows pictures.

    Args:
        folder: of the run, with its config.yaml.
        commit: of the code, if it is known.
        every_epochs: epochs from one figure of skill to the next; 0 draws none.
    """

    def __init__(self, folder: Path, commit: str | None = None, every_epochs: int = 1) -> None:
        self.folder, self.commit, self.every_epochs = folder, commit, every_epochs
        self._process = psutil.Process()

    def on_fit_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Say what the run is."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        data: RadarData = trainer.datamodule  # type: ignore[attr-defined]
        config = yaml.safe_load((self.folder / CONFIG).read_text("utf-8"))
        facts = facts_of(cast(NowcastTask, task), data, config, self.commit)
        card = model_card(facts)
        part = self.folder / f".{CARD}.part"
        part.write_text(card, encoding="utf-8")
        os.replace(part, self.folder / CARD)
        log_facts(trainer.loggers, facts, card)

    def on_train_batch_start(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int) -> None:
        """Log the learning rate that this batch is trained with, and memory."""
        values = {
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "memory_gib": self._process.memory_info().rss / GIB,
        }
        if task.device.type == "cuda":
            values["device_memory_gib"] = torch.cuda.max_memory_allocated(task.device) / GIB
        task.log_dict(values)

    def on_fit_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Say how good it became."""
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)
        if trainer.is_global_zero and best is not None:
            log_outcome(trainer.loggers, float(best), trainer.global_step - 1)

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Draw skill by lead time."""
        due = trainer.is_global_zero and is_due(trainer, self.every_epochs)
        if not due or not takes_pictures(trainer.loggers):
            return
        skill = by_forecast({"network": cast(NowcastTask, task).skill["network"].compute()})
        plot_skill(skill, self.folder / SKILL)
        log_picture(trainer.loggers, "validation/skill", self.folder / SKILL, trainer.global_step - 1)
