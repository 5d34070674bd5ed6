"""Train a forecasting network from configs: `python -m nowcast.train --config configs/quickstart.yaml`.

Fits, tests the best checkpoint beside persistence, and leaves a run folder: config.yaml (all that was resolved),
best.ckpt, last.ckpt, metrics.csv (training curves), skill.csv and skill.png (test scores by lead time), case.png.
"""

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console

from nowcast.baselines.persistence import Persistence
from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData
from nowcast.program import ShortErrors, calm, honest_exit
from nowcast.report.maps import Case, plot_case
from nowcast.report.skill import comparison_table, plot_skill, write_skill_csv
from nowcast.trained import Trained
from nowcast.training import NowcastTask
from nowcast.verification import by_forecast


class TrainParser(ShortErrors, LightningArgumentParser):
    """Lightning's parser, with short messages."""


class TrainCLI(LightningCLI):
    """LightningCLI without subcommands: `run` names the folder of results, data lengths are linked to the network."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run folder, and the lengths that network and data share."""
        parser.add_argument(
            "--run", type=str, default="runs/run", help="folder of results; a number is added if it exists"
        )
        for name in ("past_frames", "steps"):
            parser.link_arguments(f"data.window.{name}", f"model.network.init_args.{name}")

    def before_instantiate_classes(self) -> None:
        """Choose the run folder and send all loggers there."""
        self.run_folder = fresh(Path(self.config.run))
        self.config.run = str(self.run_folder)
        self.config.trainer.default_root_dir = str(self.run_folder)
        loggers = self.config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if hasattr(logger, "init_args") and getattr(logger.init_args, "save_dir", None) in (None, "."):
                logger.init_args.save_dir = str(self.run_folder)
            if "WandbLogger" in str(getattr(logger, "class_path", "")):
                offline = getattr(logger.init_args, "offline", False)
                # Before the logger has a chance to speak.
                wandb.setup(wandb.Settings(silent=True, mode="offline" if offline else "online"))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer of the config, with checkpoints, a line an epoch and CSV curves in the run folder."""
        best = ModelCheckpoint(
            self.run_folder, filename="best", monitor="val_loss", save_last=True, enable_version_counter=False
        )
        chosen = self.config_init.trainer.callbacks or []
        trainer = super().instantiate_trainer(callbacks=[*chosen, DataWait(), EpochLine(), best], **kwargs)
        trainer.loggers = [CSVLogger(str(self.run_folder), name="", version=""), *trainer.loggers]
        self.model.config = self.config_dump["model"]
        return trainer


class DataWait(pl.Callback):
    """Logs the share of training time spent waiting for data, and windows per second."""

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.began = self.ready = time.perf_counter()
        self.waited, self.windows, self.in_validation = 0.0, 0, 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int) -> None:
        self.waited += time.perf_counter() - self.ready
        self.windows += len(batch["past"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.ready = time.perf_counter()
        elapsed = self.ready - self.began
        values = {"data_wait": self.waited / elapsed, "windows_per_second": self.windows / elapsed}
        # The last value of an epoch is the epoch's; validation, which follows, is not in it.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        if trainer.is_last_batch:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)


class EpochLine(pl.Callback):
    """Prints a line an epoch."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs or '∞'}: "
            f"loss {now.get('train_loss', np.nan):.4f}, validation {now.get('val_loss', np.nan):.4f}, "
            f"{now['windows_per_second']:.1f} windows/s, {now['data_wait']:.0%} of it waiting for data, "
            f"{time.perf_counter() - self.began:.0f} s",
            flush=True,
        )


def fresh(folder: Path) -> Path:
    """The folder, or with the first number added under which there is none yet."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], numbered) if not path.exists())


def test(cli: TrainCLI, folder: Path) -> None:
    """Score the best checkpoint and persistence on the test windows: prints a table, writes skill files and a case."""
    keeper = cli.trainer.checkpoint_callback
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) else ""
    if not best:
        raise InputError("no validation took place, so there is no best checkpoint to test; train at least one epoch")
    cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=best, weights_only=True, verbose=False)
    forecaster = Trained.load(best)
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
        cli = TrainCLI(
            NowcastTask,
            RadarData,
            run=False,
            args=arguments,
            save_config_callback=None,
            parser_class=TrainParser,
            parser_kwargs={"prog": "python -m nowcast.train", "description": __doc__},
            seed_everything_default=1,
            trainer_defaults={
                "logger": False,
                "enable_progress_bar": sys.stderr.isatty(),
                "enable_model_summary": False,
            },
        )
        # All that can be wrong with the data is found now, before anything is written or trained.
        cli.datamodule.prepare_data()
        cli.datamodule.setup()
        folder = cli.run_folder
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(cli.parser.dump(cli.config, skip_none=False))
        began = time.perf_counter()
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
        print(f"trained {cli.trainer.global_step} steps in {time.perf_counter() - began:.0f} s")
        test(cli, folder)
        print(f"results are in {folder}: best.ckpt, skill.csv, skill.png, case.png, metrics.csv, config.yaml")


if __name__ == "__main__":
    main()
