"""Loggers of a run: where they write, how they continue a resumed run, and how those that can show a picture do."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
import wandb
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image


def settle_loggers(trainer: Any, folder: Path, checkpoint: Path | None) -> None:
    """Complete the loggers of a config before they are made, so that all of them write into the run folder.

    A resumed run goes on in wandb under its name, and in TensorBoard in its folder, without the steps that are done
    again. Where nobody is logged in to wandb, it is offline: no question, no wait for the network.

    Args:
        trainer: section of the config, which is changed.
        folder: of the run.
        checkpoint: that is continued, if any.
    """
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    for logger in loggers:
        name, options = str(getattr(logger, "class_path", "")).rpartition(".")[2], getattr(logger, "init_args", None)
        if options is None:
            continue
        if getattr(options, "save_dir", None) in (None, "."):
            options.save_dir = str(folder)
        if name == "WandbLogger":
            options.name = options.name or os.environ.get("WANDB_NAME") or folder.name
            _settle_wandb(options, checkpoint)
        elif name == "TensorBoardLogger":
            if options.version is None:
                options.version = "version_0"  # of this run there is no other, a resumed one goes on in it
            options.purge_step = _of(checkpoint, "global_step")


def is_due(trainer: pl.Trainer, every_epochs: int) -> bool:
    """Whether something is drawn at this validation: after every so many epochs, and at the last of all."""
    if trainer.state.fn != "fit" or trainer.sanity_checking or not every_epochs:
        return False
    return trainer.should_stop or (trainer.current_epoch + 1) % every_epochs == 0


def takes_pictures(loggers: Sequence[Logger]) -> bool:
    """Whether any of them shows pictures."""
    return any(isinstance(logger, WandbLogger | TensorBoardLogger) for logger in loggers)


def log_picture(loggers: Sequence[Logger], name: str, path: Path, step: int) -> None:
    """Show a PNG in those loggers that can, at a step of the optimiser."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as image:
                logger.experiment.add_image(name, np.array(image.convert("RGB")), step, dataformats="HWC")


def log_animation(loggers: Sequence[Logger], name: str, path: Path, step: int) -> None:
    """Show a GIF in wandb; TensorBoard would need a package that cuts films."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_video(name, [str(path)], step, format=["gif"])


def log_facts(loggers: Sequence[Logger], facts: Mapping[str, Any], card: str) -> None:
    """Tell all loggers what a run is: its facts as config, and the model card where there is a place for text."""
    for logger in loggers:
        logger.log_hyperparams(dict(facts))
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("model card", card)


def log_outcome(loggers: Sequence[Logger], loss: float, step: int) -> None:
    """Say the best validation loss where TensorBoard compares hyper-parameters; others find it in its curve."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_metrics({"hp_metric": loss}, step)


def _settle_wandb(options: Any, checkpoint: Path | None) -> None:
    asked = os.environ.get("WANDB_MODE") or getattr(options, "mode", None) or "online"
    if asked == "online" and not options.offline and not logged_in():
        rank_zero_only(print)("nobody is logged in to wandb: it writes into the run folder, and `wandb sync` sends it")
        options.offline = True
    if options.offline:
        asked = "offline"
        options.log_model = False  # which needs a server
    if checkpoint:
        options.id = _of(checkpoint, "wandb")
        options.resume = "allow"
    # Before the logger has a chance to speak.
    wandb.setup(wandb.Settings(silent=True, mode=cast(Any, asked)))


def logged_in() -> bool:
    """Whether there is a login for wandb, by environment or file; asks neither anybody nor the network."""
    return bool(wandb.login(prompt=False, verify=False))


def _of(checkpoint: Path | None, key: str) -> Any:
    return torch.load(checkpoint, weights_only=True, mmap=True).get(key) if checkpoint else None
