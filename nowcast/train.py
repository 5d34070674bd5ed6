"""Train a forecasting network from configs: `python -m nowcast.train --config configs/quickstart.yaml`.

Fits, tests the best checkpoint beside persistence, and leaves a run folder: config.yaml (all that was resolved),
model_card.md, best.ckpt, last.ckpt, metrics.csv (training curves), run.json (how far it is), samples (forecasts after
each epoch), skill.csv and skill.png (test scores by lead time), case.png. A run that was interrupted continues exactly
with `--resume FOLDER`; `python -m nowcast.dashboard FOLDER` makes a page of one or many runs.
"""

import argparse
import copy
import hashlib
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from jsonargparse import set_parsing_settings
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console

from nowcast.allocator import keep_freed_memory
from nowcast.baselines.persistence import Persistence
from nowcast.benchmarking.cases import commit
from nowcast.callbacks.bar import Bar
from nowcast.callbacks.best import Best
from nowcast.callbacks.curves import Curves
from nowcast.callbacks.data_wait import DataWait
from nowcast.callbacks.epoch_line import EpochLine
from nowcast.callbacks.loggers import settle_loggers
from nowcast.callbacks.resumable import Resumable
from nowcast.callbacks.run_file import RunFile
from nowcast.callbacks.samples import Samples, as_case, rainiest
from nowcast.callbacks.tracking import Tracking
from nowcast.checkpoints import WholeFiles, to_continue_from
from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData
from nowcast.memory import memory_explained
from nowcast.processes import end_together, others_explained
from nowcast.program import ShortErrors, fail, honest_exit, with_flags, with_underscores
from nowcast.quiet import calm
from nowcast.report.maps import Case, plot_case
from nowcast.report.skill import comparison_table, plot_skill, write_skill_csv
from nowcast.trained import Trained
from nowcast.training import TRUSTED_PACKAGES, NowcastTask
from nowcast.verification import by_forecast

# What Lightning does not look at.
LEAST = {
    "checkpoint_every": 1,
    "samples_every": 0,
    "trainer.accumulate_grad_batches": 1,
    "trainer.gradient_clip_val": 0,
}


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
        parser.add_argument(
            "--samples_every",
            type=int,
            default=1,
            help="epochs from one picture of sample forecasts to the next; 0 makes none",
        )
        parser.add_argument("--test", type=bool, default=True, help="whether the best checkpoint is tested at the end")
        for name in ("past_frames", "steps"):
            parser.link_arguments(f"data.window.{name}", f"model.network.init_args.{name}")

    def before_instantiate_classes(self) -> None:
        """Choose the run folder and send all loggers there."""
        for key, least in LEAST.items():
            if (value := self.config[key]) is not None and value < least:
                raise InputError(f"{key} is at least {least}, not {value}")
        self.resumed = bool(self.config.resume)
        self.run_folder = Path(self.config.resume) if self.resumed else fresh(Path(self.config.run))
        self.checkpoint = to_continue_from(self.run_folder) if self.resumed else None
        self.config.resume = None  # the config describes the run, not how it was started
        self.config.run = str(self.run_folder)
        self.config.trainer.default_root_dir = str(self.run_folder)
        if self.config.trainer.accelerator == "cpu":
            self.config.trainer.sync_batchnorm = False  # PyTorch has it on devices only
        settle_loggers(self.config.trainer, self.run_folder, self.checkpoint)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer of the config, with checkpoints, a line an epoch and CSV curves in the run folder."""
        folder, every = self.run_folder, self.config.samples_every
        chosen = self.config_init.trainer.callbacks or []
        callbacks = [
            Resumable(folder, self.config.checkpoint_every),
            Samples(folder, every),
            *chosen,
            DataWait(),
            EpochLine(),
            Tracking(folder, commit(), every),
            RunFile(folder, self.config.test),
            Best(folder),
        ]
        if self.config_init.trainer.enable_progress_bar and not any(isinstance(one, ProgressBar) for one in chosen):
            callbacks.append(Bar())
        plugins = [*(self.config_init.trainer.plugins or []), WholeFiles()]
        with options_explained(ValueError, TypeError):  # devices that are not there, say
            trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        trainer.loggers = [Curves(self.run_folder), *trainer.loggers]
        self.model.config = self.config_dump["model"]
        return trainer


def fresh(folder: Path) -> Path:
    """The folder, or with the first number added under which there is none yet."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], numbered) if not path.exists())


@contextmanager
def options_explained(*also: type[Exception]) -> Iterator[None]:
    """Turn what Lightning says of options that do not go together, or not here, into a line.

    Args:
        also: errors that say such a thing here, beside Lightning's own.

    Raises:
        InputError: for such an error.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, (MisconfigurationException, *also)):
            raise
        raise InputError(f"these options of the trainer do not work here: {error}") from error


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
    """The largest power of two of samples that one device holds, found by Lightning's tuner on copies."""
    model, data = copy.deepcopy(cli.model), copy.deepcopy(cli.datamodule)
    model.on_train_batch_end = lambda *_: None  # which would end the first trial, and with it all others
    data.batch_size = 1  # of the first trial, whatever the tuner is told
    each = data.crops.samples // cli.trainer.world_size
    trials = max(each // 2, 1).bit_length()
    with tempfile.TemporaryDirectory() as folder:
        alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "callbacks": [], "logger": False}
        trainer = LightningCLI.instantiate_trainer(cli, **alone, default_root_dir=folder)
        Tuner(trainer).scale_batch_size(model, datamodule=data, init_val=1, max_trials=trials)
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
    each = " for one process" if cli.trainer.world_size > 1 else ""
    print(f"the data alone come at {cli.datamodule.windows_per_second():.0f} windows/s{each}")


def test(cli: TrainCLI, task: NowcastTask) -> None:
    """Score the best checkpoint and persistence on the test windows: prints a table, writes skill files and a case.

    Args:
        cli: whose training has ended.
        task: like the one that was trained, which may be left in shards.
    """
    folder = cli.run_folder
    keeper = cli.trainer.checkpoint_callback
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) else ""
    if not best:
        raise InputError("no validation took place, so there is no best checkpoint to test; train at least one epoch")
    task.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    digest, config = hashlib.sha256(Path(best).read_bytes()).hexdigest(), cli.config_dump["model"]
    forecaster = Trained(copy.deepcopy(task.network).eval(), cli.datamodule.facts(), config, digest)
    cli.trainer.test(task, datamodule=cli.datamodule, verbose=False)
    if not cli.trainer.is_global_zero:
        return
    names = {"network": forecaster.name, "persistence": "persistence"}
    skill = by_forecast({names[key]: scores.compute() for key, scores in task.skill.items()})
    Console(width=None if sys.stdout.isatty() else 120).print(comparison_table(skill))
    write_skill_csv(skill, folder / "skill.csv")
    plot_skill(skill, folder / "skill.png")
    plot_case(rainiest_case(cli.datamodule, forecaster), folder / "case.png")


def rainiest_case(data: RadarData, forecaster: Trained) -> Case:
    """The test window with the most rain at its start, forecast by the network and by persistence."""
    dataset, (cut,) = rainiest(data, "test", 1)
    past = dataset[cut]["past"][None]
    forecasts = {f.name: f.forecast(past, data.window.steps) for f in (forecaster, Persistence())}
    return as_case(data, "test", dataset, cut, forecasts)


def main(arguments: list[str] | None = None) -> None:
    """Train, test and leave a run folder."""
    calm()
    keep_freed_memory()
    with honest_exit():
        torch.set_float32_matmul_precision("high")
        words = with_underscores(sys.argv[1:] if arguments is None else arguments)
        words = as_resumed(with_flags(words, ["--auto_batch", "--test"]))
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
                "enable_progress_bar": sys.stdout.isatty() and sys.stderr.isatty(),
                "enable_model_summary": False,
                "use_distributed_sampler": False,  # RadarData gives each process its own windows
                "sync_batchnorm": True,
            },
        )
        if cli.trainer.is_global_zero:
            prepare(cli)
        untrained = copy.deepcopy(cli.model)
        began = time.perf_counter()
        with memory_explained(cli.datamodule, cli.model.network), others_explained(), options_explained():
            cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.checkpoint, weights_only=True)
        cli.trainer.print(f"trained {cli.trainer.global_step} steps in {time.perf_counter() - began:.0f} s")
        if cli.config.test:
            test(cli, untrained)
        tested = "skill.csv, skill.png, case.png, " if cli.config.test else ""
        left = f"best.ckpt, {tested}metrics.csv, samples, model_card.md, config.yaml"
        cli.trainer.print(f"results are in {cli.run_folder}: {left}")
        end_together(cli.trainer)


if __name__ == "__main__":
    main()
