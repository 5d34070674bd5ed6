"""Train a forecasting network from configs: `python -m nowcast.train --config configs/quickstart.yaml`.

Fits, tests the best checkpoint beside persistence, and leaves a run folder: config.yaml (all that was resolved),
best.ckpt, last.ckpt, metrics.csv (training curves), skill.csv and skill.png (test scores by lead time), case.png.
A run that was interrupted continues exactly with `--resume FOLDER`.
"""

import argparse
import copy
import hashlib
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import numpy as np
import torch
import wandb
from jsonargparse import set_parsing_settings
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.tuner import Tuner
from rich.console import Console

from nowcast.baselines.persistence import Persistence
from nowcast.callbacks.curves import Curves
from nowcast.callbacks.resumable import Resumable
from nowcast.checkpoints import WholeFiles, to_continue_from
from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData
from nowcast.memory import memory_explained
from nowcast.program import ShortErrors, calm, fail, honest_exit
from nowcast.report.maps import Case, plot_case
from nowcast.report.skill import comparison_table, plot_skill, write_skill_csv
from nowcast.trained import Trained
from nowcast.training import TRUSTED_PACKAGES, NowcastTask
from nowcast.verification import by_forecast


class TrainParser(ShortErrors, LightningArgumentParser):
    """Lightning's parser, with short messages."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say of code from elsewhere how to allow it."""
        denied = re.search(r"Importing '([\w.]+)' is not allowed", message)
        if denied:
            fail(
                f"the config takes {denied[1]} from a package other than nowcast, torch and lightning; "
                f"if you trust it, add --allow_import {denied[1].split('.')[0]}"
            )
        super().error(message, ex)


class TrainCLI(LightningCLI):
    """LightningCLI without subcommands: `run` names the folder of results, data lengths are linked to the network."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run folder, and the lengths that network and data share."""
        parser.add_argument(
            "--run", type=str, default="runs/run", help="folder of results; a number is added if it exists"
        )
        parser.add_argument(
            "--resume",
            type=str | None,
            default=None,
            help="folder of a run that was interrupted, to continue it exactly",
        )
        parser.add_argument(
            "--checkpoint_every",
            type=int | None,
            default=500,
            help="optimiser steps between checkpoints to resume from, beside those between epochs",
        )
        parser.add_argument(
            "--auto_batch", type=bool, default=False, help="whether to find the largest batch size first"
        )
        parser.add_argument(
            "--allow_import",
            type=str | None,
            default=None,
            help="packages, with commas, that configs may take code from",
        )
        parser.add_argument("--test", type=bool, default=True, help="whether the best checkpoint is tested at the end")
        for name in ("past_frames", "steps"):
            parser.link_arguments(f"data.window.{name}", f"model.network.init_args.{name}")

    def before_instantiate_classes(self) -> None:
        """Choose the run folder and send all loggers there."""
        self.resumed = bool(self.config.resume)
        self.run_folder = Path(self.config.resume) if self.resumed else fresh(Path(self.config.run))
        self.checkpoint = to_continue_from(self.run_folder) if self.resumed else None
        self.config.resume = None  # the config describes the run, not how it was started
        self.config.run = str(self.run_folder)
        self.config.trainer.default_root_dir = str(self.run_folder)
        if self.config.trainer.accelerator == "cpu":
            self.config.trainer.sync_batchnorm = False  # PyTorch has it on devices only
        loggers = self.config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if hasattr(logger, "init_args") and getattr(logger.init_args, "save_dir", None) in (None, "."):
                logger.init_args.save_dir = str(self.run_folder)
            if "WandbLogger" in str(getattr(logger, "class_path", "")):
                offline = getattr(logger.init_args, "offline", False)
                if self.checkpoint:
                    logger.init_args.id = torch.load(self.checkpoint, weights_only=True, mmap=True).get("wandb")
                    logger.init_args.resume = "allow"
                # Before the logger has a chance to speak.
                wandb.setup(wandb.Settings(silent=True, mode="offline" if offline else "online"))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer of the config, with checkpoints, a line an epoch and CSV curves in the run folder."""
        best = Best(self.run_folder, filename="best", monitor="val_loss", enable_version_counter=False)
        chosen = self.config_init.trainer.callbacks or []
        callbacks = [Resumable(self.run_folder, self.config.checkpoint_every), *chosen, DataWait(), EpochLine(), best]
        plugins = [*(self.config_init.trainer.plugins or []), WholeFiles()]
        trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        trainer.loggers = [Curves(self.run_folder), *trainer.loggers]
        self.model.config = self.config_dump["model"]
        return trainer


class Best(ModelCheckpoint):
    """Keeps best.ckpt, also when the run folder lies elsewhere than when the run began."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        here = str(self.dirpath)

        def moved(path: str) -> str:
            return path.replace(state["dirpath"], here, 1)

        paths = {name: moved(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {moved(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict({**state, **paths, "best_k_models": scores, "dirpath": here})


class DataWait(pl.Callback):
    """Logs the share of training time spent waiting for data, and windows per second."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, task)  # a resumed epoch has no start

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.began = self.ready = time.perf_counter()
        self.waited, self.windows, self.values = 0.0, 0, dict[str, float]()

    def on_train_batch_start(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int) -> None:
        self.waited += time.perf_counter() - self.ready
        self.windows += len(batch["past"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.ready = time.perf_counter()
        elapsed = self.ready - self.began
        # The last value of an epoch is the epoch's; validation, which follows, is not in it.
        self.values = {"data_wait": self.waited / elapsed, "windows_per_second": self.windows / elapsed}
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.values.items()})

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(self.values, step=trainer.global_step - 1)


class EpochLine(pl.Callback):
    """Prints a line an epoch."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epochs = trainer.max_epochs or -1
        print(
            f"epoch {trainer.current_epoch + 1}{f'/{epochs}' if epochs > 0 else ''}: "
            f"loss {now.get('train_loss', np.nan):.4f}, validation {now.get('val_loss', np.nan):.4f}, "
            f"{now['windows_per_second']:.1f} windows/s, {now['data_wait']:.0%} of it waiting for data, "
            f"{time.perf_counter() - self.began:.0f} s",
            flush=True,
        )


def fresh(folder: Path) -> Path:
    """The folder, or with the first number added under which there is none yet."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], numbered) if not path.exists())


def as_resumed(words: Sequence[str]) -> list[str]:
    """`--resume FOLDER` with the folder's config before all other options.

    Raises:
        InputError: when the folder is none of a run.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--resume", nargs="?")
    folder = parser.parse_known_args(words)[0].resume
    if folder is None:
        return list(words)
    config = Path(folder, "config.yaml")
    if not config.exists():
        raise InputError(f"{folder} is no run folder to resume: it has no config.yaml")
    return ["--config", str(config), *words]


def allow_imports(words: Sequence[str]) -> None:
    """Let configs name classes of nowcast, torch and lightning only, and of what `--allow_import` names.

    That option counts on the command line alone: a config cannot allow itself.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--allow_import", default="")
    named = parser.parse_known_args(words)[0].allow_import.split(",")
    allowed = [*TRUSTED_PACKAGES, "lightning", *filter(None, named)]
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=allowed)


def tuned_batch_size(cli: TrainCLI) -> int:
    """The largest power of two of samples that the device holds, found by Lightning's tuner on copies."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = LightningCLI.instantiate_trainer(cli, callbacks=[], logger=False, default_root_dir=folder)
        data = copy.deepcopy(cli.datamodule)
        most = data.crops.samples // 2
        Tuner(trainer).scale_batch_size(
            copy.deepcopy(cli.model), datamodule=data, init_val=1, max_trials=max(most.bit_length(), 1)
        )
    return data.batch_size


def prepare(cli: TrainCLI) -> None:
    """Make the run folder, with config.yaml, once all that can be wrong with the data would have been found."""
    cli.datamodule.prepare_data()
    cli.datamodule.setup(None if cli.config.test else "fit")
    if cli.config.auto_batch:
        size = tuned_batch_size(cli)
        cli.datamodule.batch_size = cli.config.data.loading.batch_size = size
        cli.config.auto_batch = False  # a run that continues keeps what was found
        print(f"batches of {size}")
    cli.run_folder.mkdir(parents=True, exist_ok=True)
    (cli.run_folder / "config.yaml").write_text(cli.parser.dump(cli.config, skip_none=False))
    if cli.resumed:
        print(f"continuing from {cli.checkpoint}" if cli.checkpoint else f"{cli.run_folder} has no checkpoint yet")
    print(f"the data alone come at {cli.datamodule.windows_per_second():.0f} windows/s")


def test(cli: TrainCLI) -> None:
    """Score the best checkpoint and persistence on the test windows: prints a table, writes skill files and a case."""
    folder = cli.run_folder
    keeper = cli.trainer.checkpoint_callback
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) else ""
    if not best:
        raise InputError("no validation took place, so there is no best checkpoint to test; train at least one epoch")
    cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)
    if not cli.trainer.is_global_zero:
        return
    assert cli.model.config is not None
    digest = hashlib.sha256(Path(best).read_bytes()).hexdigest()
    forecaster = Trained(cli.model.network.cpu().eval(), cli.datamodule.facts(), cli.model.config, digest)
    names = {"network": forecaster.name, "persistence": "persistence"}
    skill = by_forecast({names[key]: scores.compute() for key, scores in cli.model.skill.items()})
    Console(width=None if sys.stdout.isatty() else 120).print(comparison_table(skill))
    write_skill_csv(skill, folder / "skill.csv")
    plot_skill(skill, folder / "skill.png")
    plot_case(rainiest_case(cli.datamodule, forecaster), folder / "case.png")


def rainiest_case(data: RadarData, forecaster: Trained) -> Case:
    """The test window with the most rain at its start, forecast by the network and by persistence."""
    dataset, cuts = data.test_cuts()

    def rain(cut: Any) -> float:
        source = dataset.sources[cut.source]
        now = source.windows[cut.window][data.window.past_frames - 1]
        return float(source.frames.rain[now].mean())

    cut = max(cuts, key=rain)
    batch = dataset[cut]
    past = batch["past"][None]
    steps = data.window.steps
    forecasts = {f.name: f.forecast(past, steps)[0, :, 0].numpy() for f in (forecaster, Persistence())}
    return Case(
        past=batch["past"][:, 0].numpy(),
        observed=batch["future"][:, 0].numpy(),
        forecasts=forecasts,
        start=np.datetime64(int(batch["start"]), "s"),
        step_minutes=data.window.step_minutes,
        pixel_km=data.archives["test"][cut.source].grid.pixel_m / 1000,
        title=dataset.sources[cut.source].name,
    )


def main(arguments: list[str] | None = None) -> None:
    """Train, test and leave a run folder."""
    calm()
    with honest_exit():
        torch.set_float32_matmul_precision("high")
        words = as_resumed(sys.argv[1:] if arguments is None else arguments)
        allow_imports(words)
        cli = TrainCLI(
            NowcastTask,
            RadarData,
            run=False,
            args=words,
            save_config_callback=None,
            parser_class=TrainParser,
            parser_kwargs={"prog": "python -m nowcast.train", "description": __doc__},
            seed_everything_default=1,
            trainer_defaults={
                "logger": False,
                "enable_progress_bar": sys.stderr.isatty(),
                "enable_model_summary": False,
                "use_distributed_sampler": False,  # RadarData gives each process its own windows
                "sync_batchnorm": True,
            },
        )
        if cli.trainer.is_global_zero:
            prepare(cli)
        began = time.perf_counter()
        with memory_explained(cli.datamodule):
            cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.checkpoint, weights_only=True)
        cli.trainer.print(f"trained {cli.trainer.global_step} steps in {time.perf_counter() - began:.0f} s")
        if cli.config.test:
            test(cli)
        tested = "skill.csv, skill.png, case.png, " if cli.config.test else ""
        cli.trainer.print(f"results are in {cli.run_folder}: best.ckpt, {tested}metrics.csv, config.yaml")


if __name__ == "__main__":
    main()
