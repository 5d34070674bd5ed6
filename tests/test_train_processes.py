"""Training in two processes: each has its own windows, and what is measured is what one process would measure."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import xarray as xr
import yaml

from nowcast.contracts import InputError
from nowcast.data.archive import write_archive
from nowcast.data.dataset import Cut, RainSampler, SameSource
from nowcast.training import build
from tests.conftest import moving_rain
from tests.data.test_dataset import source
from tests.programs import ROOT
from tests.test_resume import assert_same, curves, killed

TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
IN_SHARDS = ["--trainer.devices", "2", "--trainer.strategy", "fsdp", "--data.loading.batch_size", "2"]
EACH = ["--trainer.log_every_n_steps", "1", "--trainer.num_sanity_val_steps", "0"]


def test_processes_share_the_cuts_of_an_epoch_step_by_step(rain: xr.Dataset, tmp_path: Path) -> None:
    one = source(rain, tmp_path)
    whole = list(RainSampler([one], size=16, samples=13, seed=3))
    shares = []
    for process in range(3):
        sampler = RainSampler([one], size=16, samples=13, seed=3)
        sampler.divide(process, 3)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == 4
        sampler.done = 3
        assert list(sampler) == shares[-1][3:]
    assert [cut for step in zip(*shares, strict=True) for cut in step] == whole[:12]


def test_every_tested_batch_goes_to_one_process_alone() -> None:
    cuts = [Cut(0, window, 0, 0) for window in range(11)]
    shares = [list(SameSource(cuts, 2, process, 4)) for process in range(4)]
    assert sorted(cut for share in shares for batch in share for cut in batch) == cuts
    few = [list(SameSource(cuts, 8, process, 4)) for process in range(4)]
    assert all(few)
    assert sorted(cut for share in few for batch in share for cut in batch) == cuts
    with pytest.raises(InputError, match="11 windows to validate or test with are too few for 12 processes"):
        SameSource(cuts, 2, 0, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small archives that are observed everywhere: the mean over two halves of a batch is that over the batch."""
    folder = tmp_path_factory.mktemp("processes")
    for number, name in enumerate(("train", "val", "test")):
        rain = moving_rain(frames=20, height=36, width=44, start=f"2020-06-0{number + 1}T00:00", seed=number)
        write_archive(rain.fillna(0), folder / f"{name}.nc")
    network = {"class_path": "nowcast.models.se_resunet.SEResUNet", "init_args": {"width": 8, "depth": 1}}
    config = {
        "seed_everything": 1,
        "data": {
            "root": str(folder),
            **{name: [f"{name}.nc"] for name in ("train", "val", "test")},
            "window": {"past_frames": 2, "steps": 3, "step_minutes": 5},
            "crops": {"size": 32, "samples": 24, "every": 2},
            "loading": {"batch_size": 4, "cache": str(folder / "cache")},
        },
        "model": {"network": network},
        "trainer": {"accelerator": "cpu", "max_epochs": 2, "gradient_clip_val": 0.1},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return folder


def train(
    folder: Path, run: Path, *more: str, launch: tuple[str, ...] = (), program: str = "nowcast.train"
) -> subprocess.CompletedProcess[str]:
    words = [
        "-m",
        *(["--"] if launch else []),
        program,
        "--config",
        str(folder / "tiny.yaml"),
        "--run",
        str(run),
        *EACH,
        *more,
    ]
    return subprocess.run(
        [sys.executable, *launch, *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, float]]:
    with open(path) as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """One process with batches of 4."""
    done = train(folder, folder / "alone")
    assert done.returncode == 0, done.stderr
    return folder / "alone"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def torchrun() -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port())


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_two_processes_train_and_measure_as_one_does(launcher: str, alone: Path, folder: Path) -> None:
    run = folder / launcher
    launch = torchrun() if launcher == "torchrun" else ()
    done = train(folder, run, *TWO, "--data.loading.batch_size", "2", launch=launch)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2") == 1
    assert {path.name for path in run.iterdir()} == {path.name for path in alone.iterdir()}
    assert not list(folder.glob(f"{launcher}-*"))
    steps, expected = rows(run / "metrics.csv"), rows(alone / "metrics.csv")
    for name in ("train_loss", "val_loss", "val_mae/5min", "val_mae/15min", "val_csi_1/10min"):
        seen, wanted = ([row[name] for row in table if name in row] for table in (steps, expected))
        assert len(wanted) == 2
        assert seen == pytest.approx(wanted, abs=1e-5), name
    for mine, theirs in zip(*(scores(path) for path in (run, alone)), strict=True):
        assert mine[:-1] == theirs[:-1]
        assert mine[-1] == pytest.approx(theirs[-1], abs=1e-5, nan_ok=True), mine


def test_shards_of_a_model_train_and_measure_as_the_whole_does(alone: Path, folder: Path) -> None:
    """The norm of the gradient is that of all shards, samples are drawn, and the best weights are tested."""
    shards = folder / "shards"
    done = train(folder, shards, *IN_SHARDS, launch=torchrun(), program="tests.sharded")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in shards.iterdir()} == {path.name for path in alone.iterdir()}
    counted = [re.findall(r"parameters.*", (path / "model_card.md").read_text())[0] for path in (shards, alone)]
    assert counted[0] == counted[1]
    seen, wanted = (rows(path / "metrics.csv") for path in (shards, alone))
    for name in ("gradient_norm", "train_loss", "val_loss", "val_mae/15min"):
        mine, theirs = ([row[name] for row in table if name in row] for table in (seen, wanted))
        assert len(theirs) >= 2
        assert mine == pytest.approx(theirs, abs=1e-5), name
    for mine, theirs in zip(*(scores(path) for path in (shards, alone)), strict=True):
        assert mine[:-1] == theirs[:-1]
        assert mine[-1] == pytest.approx(theirs[-1], abs=1e-5, nan_ok=True), mine


def test_shards_that_were_killed_continue_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # sums differ in the last digits between numbers of threads
    words = [*EACH, *IN_SHARDS, "--data.crops.samples", "160", "--checkpoint_every", "7", "--test", "false"]
    words += ["--samples_every", "0"]
    whole, run = folder / "uninterrupted", folder / "killed"
    done = train(folder, whole, *words, program="tests.sharded")
    assert done.returncode == 0, done.stderr
    killed(["--config", str(folder / "tiny.yaml"), "--run", str(run), *words], run, 30, "tests.sharded")
    assert 30 <= torch.load(run / "last.ckpt", weights_only=True)["global_step"] < 80
    done = subprocess.run(
        [sys.executable, "-m", "tests.sharded", "--resume", str(run)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same(curves(whole), curves(run))


def test_a_batch_size_that_is_looked_for_holds_in_all_processes(folder: Path, tmp_path: Path) -> None:
    done = train(folder, tmp_path / "run", *TWO, "--auto_batch", "--test", "false", "--data.crops.samples", "40")
    assert done.returncode == 0, done.stderr
    assert "batches of 8\n" in done.stdout
    assert "trained 4 steps" in done.stdout


NO_NUMBER = """
import torch
from nowcast.losses import MAE

class Loss(MAE):
    calls = 0

    def forward(self, *fields):
        Loss.calls += 1
        bad = Loss.calls == 3 and torch.distributed.get_rank() == 1
        return super().forward(*fields) * (torch.nan if bad else 1)

class Gradient(MAE):
    calls = 0

    def forward(self, predicted, *fields):
        Gradient.calls += 1
        if Gradient.calls == 3 and torch.distributed.get_rank() == 1:
            predicted.register_hook(lambda gradient: gradient * torch.nan)
        return super().forward(predicted, *fields)
"""


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_all_processes_stop_where_one_has_what_is_no_number(
    what: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the batches it may be of and all of the weights, and with the same line from each."""
    (tmp_path / "no_number.py").write_text(NO_NUMBER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    loss = ["--allow_import", "no_number", "--model.loss", f"no_number.{what.title()}"]
    done = train(folder, tmp_path / "run", *IN_SHARDS, *loss, program="tests.sharded")
    assert done.returncode == 2
    (said,) = {line for line in done.stderr.splitlines() if line}
    assert said.startswith(f"error: the {what} is nan at step 2, in a batch of train at 2020-06-01T")
    ranks = [1] if what == "loss" else [0, 1]  # the gradient is that of all
    paths = [tmp_path / "run" / f"bad_batch_{rank}.pt" for rank in ranks]
    assert sorted(tmp_path.rglob("bad_batch_*.pt")) == paths
    for path in paths:
        assert str(path) in said
        kept = torch.load(path, weights_only=True)
        assert len(kept["batch"]["past"]) == 2
        build({"network": kept["config"]["network"]}).load_state_dict(kept["state_dict"])


def test_a_process_whose_fellow_was_killed_says_so(folder: Path, tmp_path: Path) -> None:
    words = ["--config", str(folder / "tiny.yaml"), "--run", str(tmp_path / "run"), *TWO, "--data.loading.batch_size"]
    words += ["2", "--trainer.max_epochs", "1000", "--checkpoint_every", "2"]
    first = subprocess.Popen(
        [sys.executable, "-m", "nowcast.train", *words], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while first.poll() is None and not (tmp_path / "run" / "last.ckpt").exists():
        time.sleep(0.02)
    for child in children(first.pid):
        os.kill(child, signal.SIGKILL)
    error = first.communicate()[1].decode()
    assert first.returncode == 2
    assert error.startswith("error: another process of this training has ended: its last message says why, or it was")
    assert len(error.splitlines()) == 1


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("average.yaml", "weights in shards (--trainer.strategy fsdp) are not averaged; leave Average out, or use ddp"),
        ("swa.yaml", "these options of the trainer do not work here: SWA does not currently support sharded models."),
    ],
)
def test_what_does_not_go_with_shards_is_said_in_a_line(config: str, said: str, folder: Path, tmp_path: Path) -> None:
    swa = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.001}}
    (tmp_path / "swa.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [swa]}}))
    path = tmp_path / config if config == "swa.yaml" else ROOT / "configs" / "trainer" / config
    words = ["--config", str(path), "--trainer.strategy", "fsdp"]
    done = train(folder, tmp_path / "run", *words, program="tests.sharded")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == f"error: {said}"
    assert "Traceback" not in done.stderr


def scores(run: Path) -> list[tuple]:
    with open(run / "skill.csv") as file:
        return [(*(row[name] for name in row if name != "value"), float(row["value"])) for row in csv.DictReader(file)]
