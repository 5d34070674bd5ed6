"""How a training ends: by steps or time, with a learning rate that has fallen to zero and a validation as last act."""

import csv
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from nowcast.contracts import InputError
from nowcast.training import build
from tests.programs import run
from tests.test_train import folder as folder  # the small archives and their config
from tests.test_training import CONFIG, radar, trainer


class Notes(pl.Callback):
    """Notes the learning rate and the progress of each step, and the steps after which there was a validation."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.progress: list[float] = []
        self.validated: list[int] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, task: Any, optimiser: torch.optim.Optimizer) -> None:
        self.rates.append(optimiser.param_groups[0]["lr"])
        self.progress.append(task._progress())

    def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
        self.validated.append(trainer.global_step)


def notes(archive_path: Path, tmp_path: Path, **options: Any) -> Notes:
    """Train with 2 steps an epoch and no sanity check."""
    pl.seed_everything(0, verbose=False)
    notes = Notes()
    options = {"num_sanity_val_steps": 0, "enable_checkpointing": False, **options}
    trainer(tmp_path, callbacks=[notes], **options).fit(build(CONFIG), datamodule=radar(archive_path, tmp_path))
    return notes


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine(archive_path: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "warmup": 0.4}
    seen = Notes()
    fit = trainer(tmp_path, callbacks=[seen], max_epochs=5, enable_checkpointing=False)
    fit.fit(build(config), datamodule=radar(archive_path, tmp_path))
    cosine = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * k / 6)).item()) for k in range(6)]
    assert seen.rates == pytest.approx([0.003 * share for share in (0.25, 0.5, 0.75, 1, *cosine)], rel=1e-6)


@pytest.mark.parametrize(
    ("end", "steps", "validated"),
    [
        ({"max_steps": 3}, 3, [2, 3]),
        ({"max_epochs": 9, "max_steps": 3}, 3, [2, 3]),
        ({"max_steps": 4}, 4, [2, 4]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, 6, [4, 6]),
        ({"max_steps": 5, "check_val_every_n_epoch": 9}, 5, [5]),
    ],
    ids=str,
)
def test_a_validation_follows_the_last_step(
    end: dict[str, Any], steps: int, validated: list[int], archive_path: Path, tmp_path: Path
) -> None:
    seen = notes(archive_path, tmp_path, max_epochs=-1, **end) if "max_epochs" not in end else None
    seen = seen or notes(archive_path, tmp_path, **end)
    assert len(seen.rates) == steps
    assert seen.validated == validated
    assert seen.progress == pytest.approx([step / steps for step in range(steps)])


def test_a_time_budget_anneals_to_zero_at_its_end(archive_path: Path, tmp_path: Path) -> None:
    seen = notes(archive_path, tmp_path, max_epochs=-1, max_time={"seconds": 4}, check_val_every_n_epoch=1000)
    assert seen.progress == sorted(seen.progress)
    assert seen.progress[-1] > 0.8
    assert max(seen.rates) > 0.9 * 0.003
    assert seen.rates[-1] < 0.1 * 0.003
    assert seen.validated == [len(seen.rates)]


def test_steps_count_where_they_end_before_the_time(archive_path: Path, tmp_path: Path) -> None:
    seen = notes(archive_path, tmp_path, max_epochs=2, max_time={"hours": 1})
    assert seen.progress == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.02)


def test_training_without_an_end_is_refused(archive_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training has no end"):
        notes(archive_path, tmp_path, max_epochs=-1)


def test_a_run_by_time_and_without_test_leaves_a_best_checkpoint_and_no_skill(folder: Path, tmp_path: Path) -> None:
    got = run(
        "nowcast.train", "--config", folder / "tiny.yaml", "--run", tmp_path / "run", "--test", "false",
        "--trainer.max_epochs", -1, "--trainer.max_time", "00:00:00:02", "--data.crops.samples", 4000,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "samples", "model_card.md", "run.json",
    }  # fmt: skip
    with open(tmp_path / "run" / "metrics.csv") as file:
        assert any(row["val_loss"] for row in csv.DictReader(file))
    assert "epoch 1: loss" in got.stdout
