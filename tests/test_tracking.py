"""What a training tells of itself: facts, curves, pictures and how far it is, without moving its random numbers."""

import csv
import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nowcast.benchmarking.plan import Budget, Entries, Plan, expand
from nowcast.callbacks.average import Average
from nowcast.callbacks.curves import Curves
from nowcast.callbacks.data_wait import DataWait
from nowcast.callbacks.epoch_line import EpochLine
from nowcast.callbacks.facts import fingerprint
from nowcast.callbacks.run_file import RunFile
from nowcast.callbacks.samples import Samples, rainiest, undisturbed
from nowcast.callbacks.tracking import Tracking
from nowcast.data.archive import write_archive
from nowcast.data.cache import SATURATION
from nowcast.data.datamodule import Crops, RadarData
from nowcast.report.maps import Case
from nowcast.report.runs import pictures
from nowcast.report.runs.pictures import write_film, write_sheet
from nowcast.training import build
from tests.conftest import moving_rain
from tests.programs import ROOT, run
from tests.test_resume import noisy
from tests.test_train import folder as folder  # the small archives and their config
from tests.test_training import CONFIG, radar, trainer

CONFIGS = ROOT / "configs"


def curves(path: Path) -> list[dict[str, str]]:
    with open(path / "metrics.csv") as file:
        return list(csv.DictReader(file))


def fit(run: Path, archive: Path, callbacks: Any, **options: Any) -> pl.Trainer:
    """A short training of a network that draws random numbers."""
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(config_of(archive)))
    pl.seed_everything(3, verbose=False)
    task = build(CONFIG)
    noisy(task.network)
    made = trainer(run, callbacks=callbacks, log_every_n_steps=1, max_epochs=2, **options)
    made.loggers = [Curves(run)]
    made.fit(task, datamodule=radar(archive, run.parent))
    return made


def config_of(archive: Path) -> dict[str, Any]:
    names = {split: [str(archive)] for split in ("train", "val", "test")}
    window = {"past_frames": 3, "steps": 4, "step_minutes": 5}
    data = {**names, "window": window, "crops": {"size": 16, "samples": 8}}
    return {"model": CONFIG, "data": data, "seed_everything": 3}


def test_looking_at_a_training_does_not_change_it(archive_path: Path, tmp_path: Path) -> None:
    fit(tmp_path / "bare", archive_path, [DataWait()])
    folder = tmp_path / "seen"
    looking = [
        Samples(folder),
        DataWait(),
        EpochLine(),
        Tracking(folder),
        RunFile(folder, False),
    ]
    fit(folder, archive_path, looking)
    bare, seen = ([row["loss"] for row in curves(tmp_path / name) if row["loss"]] for name in ("bare", "seen"))
    assert seen == bare
    assert len(set(bare)) == 4


def test_random_numbers_go_on_as_if_nothing_had_been() -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.random()), float(torch.rand(()))]  # noqa: NPY002

    pl.seed_everything(5, verbose=False)
    expected = [draw(), draw()]
    pl.seed_everything(5, verbose=False)
    first = draw()
    with undisturbed():
        torch.manual_seed(1)
        draw()
    assert [first, draw()] == expected


def test_learning_rate_and_memory_are_those_of_each_step(archive_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(folder, archive_path, [DataWait(), Tracking(folder)])
    rows = [row for row in curves(folder) if row["learning_rate"]]
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3]
    rates = [float(row["learning_rate"]) for row in rows]
    # One step of warm-up, the first of four, then a cosine over the three quarters that are left.
    expected = [0.003 * share for share in (1.0, 1.0, 0.75, 0.25)]
    assert rates == pytest.approx(expected, rel=1e-4)
    assert all(0.05 < float(row["memory_gib"]) < 100 for row in rows)


def test_the_model_card_says_what_is_trained_on_what(archive_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    made = fit(folder, archive_path, [Tracking(folder, "abc123")])
    card = (folder / "model_card.md").read_text()
    weights = sum(weight.numel() for weight in made.model.network.parameters())
    for said in ("# SEResUNet\n", f"| {weights:,} |", "moving.nc", "| loss | Balanced (weights [3", "commit abc123",
                 "4 frames of 5 min from 3, grid length 1 km", fingerprint(made.datamodule)):  # fmt: skip
        assert said in card, said


def test_the_fingerprint_is_of_the_rain_and_its_windows(archive_path: Path, tmp_path: Path) -> None:
    def of(path: Path, **options: Any) -> str:
        data = radar(path, tmp_path, **options)
        data.setup("fit")
        return fingerprint(data)

    other = moving_rain()
    other["rain_rate"][{"time": 7, "y": 30, "x": 20}] += 3
    (tmp_path / "other").mkdir()
    write_archive(other, tmp_path / "other" / archive_path.name)
    write_archive(moving_rain(), tmp_path / archive_path.name)
    assert of(archive_path) == of(tmp_path / archive_path.name)
    assert of(tmp_path / "other" / archive_path.name) != of(archive_path)


def test_the_rainiest_cases_are_of_all_archives_and_do_not_overlap(tmp_path: Path) -> None:
    paths = []
    for number, heavier in enumerate((1, 20)):
        rain = moving_rain(frames=30, seed=number)
        rain["rain_rate"] = (rain.rain_rate * heavier).assign_attrs(rain.rain_rate.attrs)
        paths.append(str(tmp_path / f"{number}.nc"))
        write_archive(rain, Path(paths[-1]))
    whole = radar(Path(paths[0]), tmp_path)
    data = RadarData(paths, paths, paths, window=whole.window, crops=Crops(every=2), loading=whole.loading)
    data.setup("validate")
    dataset, cuts = rainiest(data, "val", 4)
    assert [cut.source for cut in cuts] == [0, 0, 1, 1]
    assert rainiest(data, "val", 4)[1] == cuts

    def rain_of(source: int, window: int) -> float:
        place = data.sources["val"][source]
        now = place.windows[window][data.window.past_frames - 1]
        return float(np.nansum(1 - np.exp(-place.frames.read(np.array([now]), 0, 0, 40, 56) / SATURATION)))

    for source in (0, 1):
        one, two = (cut.window for cut in cuts if cut.source == source)
        assert abs(one - two) >= data.window.frames
        most = max(range(0, len(data.sources["val"][source].windows), 2), key=lambda window: rain_of(source, window))
        assert most in (one, two)
    assert len(rainiest(data, "val", 10_000)[1]) == 2 * 12  # every other of 30 - 6 windows
    assert dataset[cuts[0]]["past"].shape == (3, 1, 40, 56)


def test_samples_come_every_so_many_epochs_and_at_the_end(archive_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    made = trainer(folder, callbacks=[Samples(folder, every_epochs=2)], max_epochs=5)
    made.fit(build(CONFIG), datamodule=radar(archive_path, tmp_path))
    names = sorted(path.name for path in (folder / "samples").iterdir())
    assert names == ["epoch_0002.png", "epoch_0004.png", "epoch_0005.png", "latest.gif"]
    with Image.open(folder / "samples" / "latest.gif") as film:
        assert film.n_frames == 3 + 4


class Looking(Samples):
    """Remembers which weights it drew with."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, task)
        self.weights = [weight.clone() for weight in task.parameters()]


def test_samples_show_the_average_that_is_validated_when_they_come_before_it(
    archive_path: Path, tmp_path: Path
) -> None:
    before, after = Looking(tmp_path / "before"), Looking(tmp_path / "after")
    task = build(CONFIG)
    made = trainer(tmp_path, callbacks=[before, Average(0.5), after])
    made.fit(task, datamodule=radar(archive_path, tmp_path))
    average = list(task.parameters())  # which Average leaves in the network at the end
    assert all(torch.equal(one, other) for one, other in zip(before.weights, average, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(after.weights, average, strict=True))


def case(height: int, width: int) -> Case:
    fields = np.random.default_rng(1).exponential(3, (9, height, width)).astype(np.float32)
    fields[:, :3, :4] = np.nan
    start = np.datetime64("2020-06-01T12:00", "s")
    return Case(fields[:3], fields[3:6], {"network": fields[6:]}, start, 5, 1, "<name>")


def test_a_panel_is_the_mean_of_what_is_observed() -> None:
    field = np.array([[1, 3, np.nan, np.nan, 8], [np.nan, 5, np.nan, np.nan, 2]], np.float32)
    assert pictures._block_means(field, 2) == pytest.approx(np.array([[3, np.nan, 5]]), nan_ok=True)


def test_pictures_show_the_part_that_is_observed() -> None:
    one = case(20, 30)
    for fields in (one.past, one.observed):
        fields[:, :6] = fields[:, :, 25:] = np.nan
    one.observed[2, 4, 9] = 7
    part = pictures.cropped(one)
    assert np.array_equal(part.forecasts["network"], one.forecasts["network"][:, 4:, :25], equal_nan=True)
    assert part.past.shape == part.observed.shape == (3, 16, 25)
    one.observed[2, 4, 9] = np.nan
    assert pictures.cropped(one).past.shape == (3, 14, 25)
    one.past[:] = one.observed[:] = np.nan
    assert pictures.cropped(one).past.shape == (3, 20, 30)


@pytest.mark.parametrize("size", [(20, 30), (500, 310)])
def test_pictures_hold_all_colours_of_the_fields(size: tuple[int, int], tmp_path: Path) -> None:
    one = case(*size)
    write_sheet([one, one], "epoch 3", tmp_path / "sheet.png", columns=2)
    write_film([one, one], "epoch 3", tmp_path / "film.gif")
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "film.gif") as film:
        pixels = np.array(sheet.convert("RGB")).reshape(-1, 3)
        assert film.n_frames == 6
        assert film.info["loop"] == 0
    grey = (pixels == (0xB9, 0xB9, 0xB9)).all(axis=1).sum()
    magnified = 224 // 30 if size[0] == 20 else 1 / 3
    assert grey > 8 * 12 * magnified**2  # eight panels with an unobserved corner of 3 × 4 pixels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.gif", "sheet.png"]


class Stop(pl.Callback):
    """Ends a training as something from outside does."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_end(self, *_: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeError("the disk is full\nindeed"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_run_json_says_how_a_run_ended(error: BaseException, state: str, archive_path: Path, tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        fit(tmp_path / "run", archive_path, [Stop(error), RunFile(tmp_path / "run", False)])
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["state"] == state
    assert said.get("error") == ("the disk is full" if state == "failed" else None)
    fit(tmp_path / "whole", archive_path, [RunFile(tmp_path / "whole", False)])
    said = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert (said["state"], said["epochs"], said["steps"], said["max_epochs"]) == ("finished", 2, 4, 2)


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_goes_on_in_its_folder_without_what_is_done_again(folder: Path, tmp_path: Path) -> None:
    words = ["--config", folder / "tiny.yaml", "--config", CONFIGS / "trainer" / "tensorboard.yaml", "--test", "false"]
    words += ["--trainer.log_every_n_steps", 1]
    made = run("nowcast.train", *words, "--run", tmp_path / "run")
    assert made.returncode == 0, made.stderr
    writer = TensorBoardLogger(tmp_path / "run", name="", version="tensorboard")
    for step in (3, 4, 5):  # logged after the last checkpoint by a run that was then killed
        writer.log_metrics({"loss": 1000.0}, step)
    writer.finalize("success")
    again = run("nowcast.train", "--resume", tmp_path / "run", "--trainer.max_epochs", 3, "--test", "false")
    assert again.returncode == 0, again.stderr
    assert not list((tmp_path / "run").glob("**/version_*"))
    seen = events(tmp_path / "run" / "tensorboard")
    steps = {event.step: event.value for event in seen.Scalars("loss")}
    assert sorted(steps) == [0, 1, 2, 3, 4, 5]
    assert steps[4] < 100
    assert steps[5] < 100
    assert {"validation/samples", "validation/skill"} <= set(seen.Tags()["images"])
    assert [event.step for event in seen.Images("validation/samples")] == [1, 3, 5]
    assert "learning_rate" in seen.Tags()["scalars"]
    assert seen.Scalars("hp_metric")[-1].value == pytest.approx(min(e.value for e in seen.Scalars("val_loss")))


def test_wandb_without_a_login_is_offline_and_gets_pictures(folder: Path, tmp_path: Path) -> None:
    nobody = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")} | {"HOME": str(tmp_path)}
    words = ["--config", folder / "tiny.yaml", "--config", CONFIGS / "trainer" / "wandb.yaml", "--test", "false"]
    words += ["--run", tmp_path / "run", "--trainer.max_epochs", 1, "--trainer.logger.init_args.group", "here"]
    words += ["--trainer.logger.init_args.log_model", "true"]
    done = subprocess.run(
        [sys.executable, "-m", "nowcast.train", *map(str, words)],
        cwd=ROOT, env=nobody, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "nobody is logged in to wandb" in done.stdout
    (files,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files")
    kinds = {path.suffix for path in (files / "media").rglob("*") if path.is_file()}
    assert kinds == {".png", ".gif"}
    logger = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["logger"]["init_args"]
    assert (logger["offline"], logger["group"], logger["name"]) == (True, "here", "run")


def test_every_parameter_of_the_sweep_is_an_option_of_the_training() -> None:
    sweep = yaml.safe_load((CONFIGS / "sweep.yaml").read_text())
    assert sweep["metric"] == {"name": "val_loss", "goal": "minimize"}
    most = {key: choice["values"][-1] for key, choice in sweep["parameters"].items()}
    given = [f"--{key}={value}" for key, value in most.items()]
    words = [word for part in sweep["command"] for word in (given if part == "${args}" else [part])]
    assert words[:4] == ["${env}", "${interpreter}", "-m", sweep["program"]]
    got = run(sweep["program"], *words[4:], "--print_config")
    assert got.returncode == 0, got.stderr
    config = yaml.safe_load(got.stdout)
    for key, value in most.items():
        at = config
        for part in key.split("."):
            at = at[part]
        assert at == value
    for key, choice in sweep["parameters"].items():
        for value in choice["values"]:
            tried = run(sweep["program"], *words[4:], f"--{key}={value}", "--print_config")
            assert tried.returncode == 0, shlex.join(map(str, words)) + tried.stderr


def test_the_grid_in_the_comment_of_the_sweep_is_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    comment = [line[4:] for line in (CONFIGS / "sweep.yaml").read_text().splitlines() if line.startswith("#   ")]
    plan = yaml.safe_load("\n".join(comment))
    entries = expand(Plan(plan["folder"], [Entries(**entry) for entry in plan["entries"]], Budget(**plan["budget"])))
    sweep = yaml.safe_load((CONFIGS / "sweep.yaml").read_text())["parameters"]
    gates = {value if value != "null" else "none" for value in sweep["model.network.init_args.attention"]["values"]}
    assert {entry.name.split(" · ")[1] for entry in entries} == gates
    assert {entry.source for entry in entries} == {"configs/quickstart.yaml"}


def test_windows_of_all_processes_are_counted() -> None:
    two = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    speed, batch = DataWait(), {"past": torch.zeros(3, 1)}
    task = build(CONFIG)
    speed.on_train_start(two, task)
    for index in range(2):
        speed.on_train_batch_start(two, task, batch, index)
        speed.on_train_batch_end(two, task, None, batch, index)
    assert speed.values["windows_per_second"] * (speed.ready - speed.began) == pytest.approx(12)
