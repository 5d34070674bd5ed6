"""`python -m nowcast.train`: one command leaves a whole run folder, and a wrong one leaves nothing."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import xarray as xr
import yaml

from nowcast.data.archive import write_archive
from nowcast.trained import Trained
from tests.conftest import moving_rain
from tests.programs import ROOT, run

CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small archives and a config for them."""
    folder = tmp_path_factory.mktemp("train")
    for number, name in enumerate(("train", "val", "test")):
        start = f"2020-06-0{number + 1}T00:00"
        write_archive(moving_rain(frames=14, height=36, width=44, start=start, seed=number), folder / f"{name}.nc")
    config = {
        "seed_everything": 1,
        "run": str(folder / "run"),
        "data": {
            "root": str(folder),
            **{name: [f"{name}.nc"] for name in ("train", "val", "test")},
            "window": {"past_frames": 2, "steps": 3, "step_minutes": 5},
            "crops": {"size": 32, "samples": 8, "every": 3},
            "loading": {"batch_size": 4, "cache": str(folder / "cache")},
        },
        "model": {
            "network": {
                "class_path": "nowcast.models.se_resunet.SEResUNet",
                "init_args": {"width": 8, "depth": 1},
            }
        },
        "trainer": {"accelerator": "cpu", "max_epochs": 2},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> subprocess.CompletedProcess[str]:
    """One training in a process of its own, as a user runs it."""
    words = ["nowcast.train", "--config", str(folder / "tiny.yaml"), "--model.learning_rate", "0.004"]
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_leaves_all_that_it_promises(finished: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert finished.returncode == 0, finished.stderr
    names = {path.name for path in (folder / "run").iterdir()}
    assert names == {
        "best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "skill.csv", "skill.png", "case.png",
        "samples", "model_card.md", "run.json",
    }  # fmt: skip
    assert yaml.safe_load((folder / "run" / "config.yaml").read_text())["model"]["learning_rate"] == 0.004
    assert (folder / "run" / "case.png").read_bytes().startswith(b"\x89PNG")
    assert Trained.load(folder / "run").steps == 3


def test_it_prints_skill_beside_persistence_and_nothing_odd(
    finished: subprocess.CompletedProcess[str],
) -> None:
    assert "epoch 2/2: loss" in finished.stdout
    assert "waiting for data" in finished.stdout
    assert "persistence" in finished.stdout
    assert finished.stderr == ""


def test_skill_is_that_of_both_on_the_same_cases(finished: subprocess.CompletedProcess[str], folder: Path) -> None:
    with open(folder / "run" / "skill.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["forecast"] for row in rows} == {"SEResUNet", "persistence"}
    counts = {
        row["forecast"]: row["value"] for row in rows if row["score"] == "pixel_count" and row["lead_time_min"] == "15"
    }
    assert len(set(counts.values())) == 1
    assert float(counts["persistence"]) > 0


def test_training_curves_hold_skill_by_lead_time_and_time_spent_waiting(
    finished: subprocess.CompletedProcess[str], folder: Path
) -> None:
    with open(folder / "run" / "metrics.csv") as file:
        names = next(csv.reader(file))
    assert {
        "train_loss",
        "val_loss",
        "val_mae/5min",
        "val_csi_1/15min",
        "data_wait",
        "windows_per_second",
    } <= set(names)


def test_the_resolved_config_repeats_the_run(finished: subprocess.CompletedProcess[str], folder: Path) -> None:
    again = run("nowcast.train", "--config", folder / "run" / "config.yaml", "--run", folder / "again")
    assert again.returncode == 0, again.stderr
    first, second = (torch.load(folder / name / "last.ckpt", weights_only=True) for name in ("run", "again"))
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(weight, second["state_dict"][name], rtol=0, atol=0)


def test_forecast_and_verify_follow_from_the_checkpoint(
    finished: subprocess.CompletedProcess[str], folder: Path
) -> None:
    """The road from archive to scores: what the run said of its test event, the programs say again."""
    made = run(
        "nowcast.forecast", "--checkpoint", folder / "run", "--input", folder / "test.nc",
        "--output", folder / "network.nc", "--minutes", 15,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    run(
        "nowcast.forecast", "--baseline", "persistence", "--input", folder / "test.nc",
        "--output", folder / "persistence.nc", "--minutes", 15,
    )  # fmt: skip
    scored = run(
        "nowcast.verify", "--forecast", folder / "network.nc", folder / "persistence.nc",
        "--observed", folder / "test.nc", "--output", folder / "skill",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert "SEResUNet" in scored.stdout
    assert (folder / "skill" / "skill.png").exists()
    with xr.open_dataset(folder / "network.nc", decode_timedelta=True) as forecasts:
        assert forecasts.attrs["checkpoint_sha256"] == Trained.load(folder / "run").digest
        assert "SEResUNet" in forecasts.attrs["config"]
        assert forecasts.rain_rate.shape == (13, 3, 36, 44)


def test_programs_say_the_same_scores_as_the_test_of_the_run(
    finished: subprocess.CompletedProcess[str], folder: Path, tmp_path: Path
) -> None:
    """Every third window was tested: forecast just those and verify them from the files."""
    times = ",".join(f"2020-06-03T00:{minute:02}" for minute in (5, 20, 35, 50))
    for name, source in {
        "SEResUNet": ["--checkpoint", folder / "run"],
        "persistence": ["--baseline", "persistence"],
    }.items():
        made = run(
            "nowcast.forecast", *source, "--input", folder / "test.nc", "--output", tmp_path / f"{name}.nc",
            "--minutes", 15, "--init", times,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    run(
        "nowcast.verify", "--forecast", tmp_path / "SEResUNet.nc", tmp_path / "persistence.nc",
        "--observed", folder / "test.nc", "--output", tmp_path,
    )  # fmt: skip

    def scores(path: Path) -> dict[tuple[str, ...], float]:
        with open(path) as file:
            return {
                (row["forecast"], row["lead_time_min"], row["threshold"], row["score"]): float(row["value"])
                for row in csv.DictReader(file)
            }

    in_run, from_files = scores(folder / "run" / "skill.csv"), scores(tmp_path / "skill.csv")
    assert in_run.keys() == from_files.keys()
    for key, value in in_run.items():
        # Forecasts are rounded to hundredths of mm/h in the file, so a few pixels may cross a threshold.
        assert from_files[key] == pytest.approx(value, rel=0.02, abs=0.01, nan_ok=True), key


def test_an_existing_run_is_never_written_over(finished: subprocess.CompletedProcess[str], folder: Path) -> None:
    before = (folder / "run" / "best.ckpt").read_bytes()
    again = run("nowcast.train", "--config", folder / "tiny.yaml", "--trainer.max_epochs", 1)
    assert again.returncode == 0, again.stderr
    assert (folder / "run-2" / "best.ckpt").exists()
    assert (folder / "run" / "best.ckpt").read_bytes() == before


def test_offline_tracking_needs_no_account_and_says_nothing(folder: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((CONFIGS / "real.yaml").read_text())["trainer"]["logger"]
    (tmp_path / "wandb.yaml").write_text(yaml.safe_dump({"trainer": {"logger": config, "max_epochs": 1}}))
    nobody = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")} | {"HOME": str(tmp_path)}
    words = ["nowcast.train", "--config", folder / "tiny.yaml", "--config", tmp_path / "wandb.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words), "--run", str(tmp_path / "run")],
        cwd=ROOT, env=nobody, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


MISTAKES = {
    "a misspelt key": (["--model.learnig_rate", "1"], "did you mean model.learning_rate"),
    "a misspelt network option": (["--model.network.init_args.widht", "3"], "did you mean width"),
    "a wrong type": (["--data.crops.size", "big"], "data.crops.size: Expected a int. Got value: big"),
    "an unknown attention": (["--model.network.attention", "cbma"], "did you mean cbam"),
    "a missing archive": (["--data.test", "[nowhere.nc]"], "nowhere.nc does not exist"),
    "too few frames": (["--data.window.steps", "40"], "no 42 frames in a row 5 min apart"),
    "an impossible step": (["--data.window.step_minutes", "7"], "cannot serve a step of 7 min"),
    "a missing config": (["--config", "nowhere.yaml"], "nowhere.yaml"),
    "no learning": (["--model.learning_rate", "0"], "learning_rate and thresholds are above 0"),
    "no batch": (["--data.loading.batch_size", "0"], "batch_size is at least 1"),
    "a crop of nothing": (["--data.crops.size", "0"], "size, samples, every and tile of crops are at least 1"),
    "no checkpoint": (["--checkpoint_every", "0"], "checkpoint_every is at least 1, not 0"),
    "half a batch": (["--trainer.accumulate_grad_batches", "0"], "accumulate_grad_batches is at least 1"),
    "an unknown strategy": (["--trainer.strategy", "dpd"], "invalid strategy name"),
    "devices that are not there": (["--trainer.accelerator", "hpu"], "do not work here"),
    "a strategy of other devices": (["--trainer.strategy", "fsdp"], "requires a GPU"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line_and_leaves_nothing(folder: Path, tmp_path: Path, mistake: str) -> None:
    arguments, said = MISTAKES[mistake]
    got = run("nowcast.train", "--config", folder / "tiny.yaml", "--run", tmp_path / "run", *arguments)
    assert got.returncode == 2
    assert said in got.stderr
    assert len(got.stderr.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_grid_finer_than_trained_is_refused(
    finished: subprocess.CompletedProcess[str], folder: Path, tmp_path: Path
) -> None:
    fine = moving_rain(frames=6)
    write_archive(fine.assign_coords(y=fine.y / 2, x=fine.x / 2), tmp_path / "fine.nc")
    got = run(
        "nowcast.forecast", "--checkpoint", folder / "run", "--input", tmp_path / "fine.nc",
        "--output", tmp_path / "out.nc", "--minutes", 15,
    )  # fmt: skip
    assert got.returncode == 2
    assert "grid length of 500 m, the network was trained on 1000 m" in got.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["fine.nc"]


@pytest.mark.parametrize(
    "files",
    [
        ["quickstart.yaml"],
        ["real.yaml"],
        ["data/synthetic.yaml", "model/se_resunet.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/se_resunet.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/earthformer.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/simvp.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/rainnet.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/smaat_unet.yaml", "trainer/cpu.yaml"],
        ["data/radar_events.yaml", "model/lagrangian.yaml", "trainer/cpu.yaml"],
        ["data/synthetic.yaml", "model/metnet.yaml", "trainer/cpu.yaml"],
        ["data/synthetic.yaml", "model/convlstm.yaml", "trainer/cpu.yaml"],
        ["data/synthetic.yaml", "model/predrnn.yaml", "trainer/cpu.yaml"],
        ["data/synthetic.yaml", "model/ccnet.yaml", "trainer/cpu.yaml"],
        ["quickstart.yaml", "trainer/average.yaml"],
        ["quickstart.yaml", "trainer/tensorboard.yaml"],
        ["quickstart.yaml", "trainer/wandb.yaml"],
        ["data/radar_events.yaml", "model/lagrangian.yaml", "trainer/cpu_bf16.yaml"],
        ["data/radar_events.yaml", "model/rainnet.yaml", "trainer/gpu.yaml"],
    ],
    ids=lambda files: "+".join(files),
)
def test_committed_configs_compose_and_say_what_they_hold(files: list[str]) -> None:
    got = run("nowcast.train", *(word for file in files for word in ("--config", CONFIGS / file)), "--print_config")
    assert got.returncode == 0, got.stderr
    assert yaml.safe_load(got.stdout)["model"]["network"]["class_path"].startswith("nowcast.models.")


def test_every_committed_config_is_tried_and_begins_with_what_it_is() -> None:
    (composed,) = (mark for mark in test_committed_configs_compose_and_say_what_they_hold.pytestmark)
    tried = {file for files in composed.args[1] for file in files}
    benchmarks = {f"benchmark/{path.name}" for path in (CONFIGS / "benchmark").iterdir()}  # tests/benchmarking
    others = {"sweep.yaml"}  # tests/test_tracking.py
    assert tried | benchmarks | others == {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")}
    for path in CONFIGS.rglob("*.yaml"):
        assert path.read_text().startswith("# "), path
