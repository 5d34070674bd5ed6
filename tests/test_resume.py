"""A run that is killed continues exactly: the curves of an interrupted run are those of one that was not."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from torch import nn

from nowcast.callbacks.average import Average
from nowcast.callbacks.curves import Curves
from nowcast.callbacks.resumable import Resumable
from nowcast.checkpoints import WholeFiles, damage, to_continue_from
from nowcast.contracts import InputError
from nowcast.training import build
from tests.programs import ROOT, run
from tests.test_train import folder as folder  # the small archives and their config
from tests.test_training import CONFIG, radar, trainer

TIMED = {"windows_per_second", "data_wait", "memory_gib"}


class Copying(Resumable):
    """Keeps a copy of the run folder for each of its checkpoints."""

    copies: Path

    def _save(self, trainer: pl.Trainer) -> None:
        before = self._saved
        super()._save(trainer)
        if self._saved != before:
            shutil.copytree(self.folder, self.copies / f"{self._saved:03}")


def noisy(network: nn.Module) -> nn.Module:
    """A network whose training draws random numbers, as many do."""
    network.register_forward_hook(lambda module, _, out: out + 0.05 * torch.randn_like(out) if module.training else out)
    return network


def fit(run: Path, archive: Path, copies: Path | None = None, callbacks: Any = (), **options: Any) -> None:
    """Train into a run folder, from its checkpoint if it has one."""
    checkpoint = to_continue_from(run)
    pl.seed_everything(3, verbose=False)
    task = build({**CONFIG, "network": {**CONFIG["network"]}})
    noisy(task.network)
    workers, average = options.pop("workers", 0), options.pop("average", None)
    callbacks = [*callbacks, Average(average)] if average else callbacks
    data = radar(archive, run.parent)
    data.loading = type(data.loading)(batch_size=2, workers=workers, cache=str(run.parent / "cache"))
    if checkpoint:
        torch.randn(17)  # a process of its own would not have the same random numbers behind it
    resumable = Copying(run, options.pop("every", 1))
    resumable.copies = copies or run.parent / "copies"
    made = trainer(
        run,
        callbacks=[resumable, *callbacks],
        plugins=[WholeFiles()],
        log_every_n_steps=1,
        **options,
    )
    made.loggers = [Curves(run)]
    made.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def curves(run: Path) -> list[dict[str, float]]:
    with open(run / "metrics.csv") as file:
        return [
            {name: float(text) for name, text in row.items() if text and name not in TIMED}
            for row in csv.DictReader(file)
        ]


def assert_same(one: list[dict[str, float]], other: list[dict[str, float]], tolerance: float = 1e-6) -> None:
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, abs=tolerance, nan_ok=True)


CASES: dict[str, dict[str, Any]] = {
    "epochs": {"max_epochs": 2},
    "steps": {"max_epochs": -1, "max_steps": 6},
    "validation within epochs": {"max_epochs": 2, "val_check_interval": 2},
    "accumulated gradients": {"max_epochs": 2, "accumulate_grad_batches": 2},
    "averaged weights": {"max_epochs": 2, "average": 0.8},
    "workers": {"max_epochs": 2, "workers": 1, "every": 3},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_continues_exactly_from_every_checkpoint(case: str, archive_path: Path, tmp_path: Path) -> None:
    fit(tmp_path / "whole", archive_path, **CASES[case])
    whole = curves(tmp_path / "whole")
    assert len({row["loss"] for row in whole if "loss" in row}) > 3
    copies = sorted((tmp_path / "copies").iterdir())
    assert len(copies) > 3
    for copy in copies:
        with open(copy / "metrics.csv", "a") as file:  # what was logged between the checkpoint and the end
            file.write(",".join("1000" for _ in whole[0]) + "\n")
        fit(copy, archive_path, tmp_path / f"of {copy.name}", **CASES[case])
        assert_same(whole, curves(copy))


@pytest.mark.parametrize("case", ["epochs", "steps"])
def test_a_run_continues_where_something_else_than_a_kill_ended_it(
    case: str, archive_path: Path, tmp_path: Path
) -> None:
    class Stop(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
            trainer.should_stop = trainer.global_step == 4

    fit(tmp_path / "whole", archive_path, **CASES[case])
    fit(tmp_path / "stopped", archive_path, tmp_path / "elsewhere", [Stop()], every=100, **CASES[case])
    assert len(curves(tmp_path / "stopped")) < len(curves(tmp_path / "whole"))
    fit(tmp_path / "stopped", archive_path, tmp_path / "elsewhere", every=100, **CASES[case])
    assert_same(curves(tmp_path / "whole"), curves(tmp_path / "stopped"))


def test_one_seed_makes_one_run(archive_path: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fit(tmp_path / name, archive_path, tmp_path / f"of {name}", max_epochs=2)
    assert_same(curves(tmp_path / "one"), curves(tmp_path / "two"), 0)


LONG = ["--data.crops.samples", "160", "--trainer.log_every_n_steps", "1", "--checkpoint_every", "7"]


def killed(words: list[str], run_folder: Path, step: int, program: str = "nowcast.train") -> None:
    """Start a training and kill it, with all its processes, as soon as its checkpoints have come to a step."""
    process = subprocess.Popen(
        [sys.executable, "-m", program, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    last = run_folder / "last.ckpt"
    while process.poll() is None:
        with suppress(FileNotFoundError):  # it is away for a moment while one takes the place of the other
            if not damage(last) and torch.load(last, weights_only=True)["global_step"] >= step:
                break
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1].decode()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A run that nobody interrupted."""
    got = run("nowcast.train", "--config", folder / "tiny.yaml", "--run", folder / "whole", *LONG)
    assert got.returncode == 0, got.stderr
    return folder / "whole"


def test_a_run_killed_by_the_system_continues_exactly(folder: Path, whole: Path, tmp_path: Path) -> None:
    killed(["--config", str(folder / "tiny.yaml"), "--run", str(tmp_path / "run"), *LONG], tmp_path / "run", 47)
    assert not (tmp_path / "run" / "skill.csv").exists()
    got = run("nowcast.train", "--resume", tmp_path / "run")
    assert got.returncode == 0, got.stderr
    assert got.stderr == ""
    assert f"continuing from {tmp_path / 'run' / 'last.ckpt'}" in got.stdout
    assert_same(curves(whole), curves(tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in whole.iterdir()}
    mine, theirs = (torch.load(path / "best.ckpt", weights_only=True) for path in (tmp_path / "run", whole))
    for name, weight in theirs["state_dict"].items():
        torch.testing.assert_close(mine["state_dict"][name], weight, rtol=0, atol=1e-6)
    assert (tmp_path / "run" / "skill.csv").read_text() == (whole / "skill.csv").read_text()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole: Path, folder: Path, tmp_path: Path) -> None:
    words = ["--config", str(folder / "tiny.yaml"), "--run", str(tmp_path / "run"), *LONG]
    killed(words, tmp_path / "run", 14)
    last, previous = (tmp_path / "run" / name for name in ("last.ckpt", "previous.ckpt"))
    last.write_bytes(last.read_bytes()[:-5000])
    got = run("nowcast.train", "--resume", tmp_path / "run")
    assert got.returncode == 0, got.stderr
    assert f"{last} is damaged: it is cut off" in got.stderr
    assert f"continuing from {previous}" in got.stdout
    assert_same(curves(whole), curves(tmp_path / "run"))


def test_every_change_of_a_weight_is_seen(whole: Path, tmp_path: Path) -> None:
    content = (whole / "last.ckpt").read_bytes()
    part = max(zipfile.ZipFile(whole / "last.ckpt").infolist(), key=lambda part: part.file_size)
    at = part.header_offset + part.file_size // 2
    assert damage(whole / "last.ckpt") is None
    for place in (at, at + 40):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "last.ckpt").write_bytes(changed)
        assert "checksum" in str(damage(tmp_path / "last.ckpt"))
    with pytest.raises(InputError, match="is intact; train anew"):
        to_continue_from(tmp_path)


def test_code_in_a_checkpoint_does_not_run_when_a_run_is_resumed(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    checkpoint = torch.load(whole / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "trap": Trap(tmp_path / "sprung")}, tmp_path / "run" / "last.ckpt")
    got = run("nowcast.train", "--resume", tmp_path / "run")
    assert got.returncode == 0, got.stderr
    assert f"{tmp_path / 'run' / 'last.ckpt'} is damaged: it holds code" in got.stderr
    assert f"continuing from {tmp_path / 'run' / 'best.ckpt'}" in got.stdout
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_run_killed_before_its_first_checkpoint_starts_again(whole: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(whole / "config.yaml", tmp_path / "run")
    got = run("nowcast.train", "--resume", tmp_path / "run", "--test", "false")
    assert got.returncode == 0, got.stderr
    assert "no checkpoint yet" in got.stdout
    assert_same(curves(whole), curves(tmp_path / "run"))


def test_a_finished_run_can_be_prolonged_even_elsewhere(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "moved")
    best = torch.load(whole / "best.ckpt", weights_only=True)["callbacks"]
    (score,) = (state["best_model_score"] for state in best.values() if "best_model_score" in state)
    got = run("nowcast.train", "--resume", tmp_path / "moved", "--trainer.max_epochs", 3)
    assert got.returncode == 0, got.stderr
    assert got.stderr == ""
    assert [line.split(":")[0] for line in got.stdout.splitlines() if line.startswith("epoch")] == ["epoch 3/3"]
    later = torch.load(tmp_path / "moved" / "last.ckpt", weights_only=True)["callbacks"]
    (kept,) = (state for state in later.values() if "best_model_score" in state)
    assert kept["best_model_score"] <= score
    assert Path(kept["best_model_path"]).parent == (tmp_path / "moved").resolve()


def test_what_is_no_run_folder_cannot_be_resumed(tmp_path: Path) -> None:
    got = run("nowcast.train", "--resume", tmp_path)
    assert got.returncode == 2
    assert "is no run folder to resume: it has no config.yaml" in got.stderr


def test_an_offline_run_keeps_its_name_in_wandb(folder: Path, tmp_path: Path) -> None:
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"offline": True, "project": "p"}}
    (tmp_path / "wandb.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    words = ["--config", folder / "tiny.yaml", "--config", tmp_path / "wandb.yaml", "--test", "false"]
    for more in ([*words, "--run", tmp_path / "run"], ["--resume", tmp_path / "run", "--trainer.max_epochs", 3]):
        done = subprocess.run(
            [sys.executable, "-m", "nowcast.train", *map(str, more)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    names = {path.name.rsplit("-", 1)[-1] for path in (tmp_path / "run" / "wandb").glob("offline-run-*")}
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2
    assert len(names) == 1
