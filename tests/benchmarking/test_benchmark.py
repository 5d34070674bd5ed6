"""`python -m nowcast.benchmark`: fair, resumed, and honest about what failed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml
from wandb.proto.wandb_internal_pb2 import RunRecord

from nowcast.baselines.persistence import Persistence
from nowcast.benchmarking import Cases, Plan, expand
from nowcast.benchmarking.cases import different
from nowcast.benchmarking.plan import Entries
from nowcast.benchmarking.scoring import Judgement
from nowcast.data.archive import Archive, write_archive
from nowcast.data.datamodule import RadarData
from nowcast.data.windows import Window
from nowcast.forecasting import forecast_archive, possible_starts
from nowcast.verifying import verify_files
from tests.conftest import moving_rain
from tests.programs import Outcome, run

NETWORK = {
    "class_path": "nowcast.models.se_resunet.SEResUNet",
    "init_args": {"width": 8, "depth": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives, a training config and a benchmark of two baselines, one network and one that cannot be trained."""
    folder = tmp_path_factory.mktemp("benchmark")
    for number, name in enumerate(("train", "val", "test")):
        start = f"2020-06-0{number + 1}T00:00"
        write_archive(moving_rain(frames=24, height=36, width=44, start=start, seed=number), folder / f"{name}.nc")
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "radar", "offline": True}}
    small = {"model": {"network": NETWORK}, "trainer": {"logger": logger}}
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    quantiles = {
        "class_path": "nowcast.models.quantiles.Quantiles",
        "init_args": {"levels": 3, "network": {"name": "se_resunet", "width": 8, "depth": 1}},
    }
    loss = {"class_path": "nowcast.likelihoods.Pinball", "init_args": {"levels": 3}}
    (folder / "spread.yaml").write_text(yaml.safe_dump({"model": {"network": quantiles, "loss": loss}}))
    (folder / "broken.yaml").write_text(yaml.safe_dump({"model": {"network": NETWORK | {"init_args": {"width": 0}}}}))
    config = {
        "folder": str(folder / "results"),
        "data": {
            "root": str(folder),
            **{name: [f"{name}.nc"] for name in ("train", "val", "test")},
            "window": {"past_frames": 3, "steps": 12, "step_minutes": 5},
            "crops": {"size": 32, "samples": 16, "every": 4},
            "loading": {"batch_size": 4, "cache": str(folder / "cache")},
        },
        "budget": {"steps": 3},  # the end of no epoch
        "training": {"trainer.accelerator": "cpu"},
        "thresholds": [0.1, 1.0],
        "every": 3,
        "block_minutes": 15,
        "showcase": 1,
        "reference": "persistence",
        "entries": [
            {"baseline": ["persistence", "lagrangian_persistence"]},
            {"config": str(folder / "small.yaml"), "seeds": [4, 1]},
            {"config": str(folder / "spread.yaml"), "products": ["median", "matched"]},
            {"config": str(folder / "broken.yaml")},
        ],
    }
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Outcome:
    return run("nowcast.benchmark", "--config", folder / "benchmark.yaml")


@pytest.fixture(scope="module")
def results(folder: Path, outcome: Outcome) -> Path:
    return folder / "results"


@pytest.fixture
def cases(folder: Path) -> Cases:
    data = RadarData(["train.nc"], ["val.nc"], ["test.nc"], root=str(folder), window=Window(3, 12, 5))
    return Cases(data, every=3)


def test_an_entry_that_fails_is_in_the_table_with_its_error_and_stops_no_other(results: Path, outcome: Outcome) -> None:
    assert outcome.returncode == 0, outcome.stderr
    board = pd.read_csv(results / "leaderboard.csv").set_index("entry")
    assert board.status.groupby(level=0).first().to_dict() == {
        "lagrangian_persistence": "done",
        "persistence": "done",
        "small": "done",
        "spread (median)": "done",
        "spread (matched)": "done",
        "broken": "failed",
    }
    assert "width" in board.error["broken"]
    assert "Traceback" not in board.error["broken"]
    assert (board.train_steps["small"] == 3).all()
    assert (board.parameters["small"] > 0).all()
    assert (board.windows_per_second["small"] > 0).all()
    assert (results / "report" / "index.html").exists()


def test_trainings_of_a_benchmark_are_one_group_in_wandb(results: Path) -> None:
    for seed in (4, 1):
        (path,) = (results / "trainings" / "small" / f"seed-{seed}").glob("wandb/offline-run-*/run-*.wandb")
        for said in (RunRecord(run_group="results"), RunRecord(display_name=f"small, seed {seed}")):
            assert said.SerializeToString() in path.read_bytes()


def test_scores_are_those_of_forecast_files_verified_one_by_one(folder: Path, results: Path) -> None:
    archive = Archive.open(str(folder / "test.nc"))
    starts = possible_starts(archive, 3, 5)[: 24 - 3 - 12 + 1 : 3]
    forecast_archive(Persistence(), archive, folder / "persistence.nc", starts, 12, 5)
    expected = verify_files([folder / "persistence.nc"], archive, (0.1, 1.0)).isel(forecast=0)
    with xr.open_dataset(results / "scores.nc") as scores:
        mine = scores.sel(entry="persistence", bound="score").isel(seed=0)
        assert int(mine.cases) == int(expected.cases) == 4
        for name in ("mae", "rmse", "csi", "frequency_bias"):
            np.testing.assert_allclose(mine[name], expected[name], rtol=1e-4)  # files are packed to 0.01 mm/h


def test_rain_that_only_moves_is_forecast_better_by_moving_it(results: Path) -> None:
    with xr.open_dataset(results / "differences.nc") as differences:
        gain = differences.sel(entry="lagrangian_persistence", lead_time=15, threshold=1).isel(seed=0)
        assert float(gain.csi.sel(bound="lower")) > 0
        assert bool(gain.csi_excludes_zero)
        assert differences.attrs["reference"] == "persistence"


def test_a_distribution_has_scores_of_its_own_and_its_products_share_one_training(results: Path) -> None:
    board = pd.read_csv(results / "leaderboard.csv").set_index("entry")
    assert [path.name for path in (results / "trainings").glob("spread*")] == ["spread"]
    # Hardly trained, its median is near to persistence, and any spread is better than none.
    assert board.crps_30["spread (median)"] < board.crps_30["persistence"] == board.mae_30["persistence"]
    assert board["csi_0.1_30"]["spread (median)"] != board["csi_0.1_30"]["spread (matched)"]
    with xr.open_dataset(results / "scores.nc") as scores:
        chance = scores.sel(bound="score")
        assert bool(chance.brier.sel(entry="persistence").isnull().all())
        assert float(chance.brier.sel(entry="spread (median)", seed=1, lead_time=5, threshold=1)) < 0.25


def test_scores_of_a_seed_are_found_under_its_number(results: Path) -> None:
    board = pd.read_csv(results / "leaderboard.csv").set_index(["entry", "seed"])
    tables = [xr.open_dataset(results / name) for name in ("scores.nc", "differences.nc")]
    with tables[0] as scores, tables[1] as differences:
        own, gain = (table.mae.sel(entry="small", bound="score", lead_time=60) for table in tables)
        for seed in (1, 4):
            assert float(own.sel(seed=seed)) == pytest.approx(board.mae_60["small", seed], rel=1e-3)
            baseline = float(scores.mae.sel(entry="persistence", seed=0, bound="score", lead_time=60))
            assert float(gain.sel(seed=seed)) == pytest.approx(float(own.sel(seed=seed)) - baseline, rel=1e-5)
        assert own.sel(seed=1) != own.sel(seed=4)
        assert differences.seed.values.tolist() == [0, 1, 4]


def test_every_score_carries_the_protocol(results: Path) -> None:
    with xr.open_dataset(results / "scores.nc") as scores:
        protocol = json.loads(scores.attrs["protocol"])
    assert protocol["cases"] == 4
    assert protocol["step_minutes"] == 5
    assert protocol["thresholds"] == [0.1, 1.0]
    assert protocol["init_times"][0] == "2020-06-03T00:10:00.000"
    assert 0 < protocol["missing_share"] < 0.1  # the corner of the grid
    assert len(protocol["data_fingerprint"]) == 16


def test_a_second_run_repeats_nothing_but_what_failed_or_is_gone(folder: Path, results: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in results.glob("entries/*/*/done.json")}
    checkpoint = results / "trainings" / "small" / "seed-1" / "best.ckpt"
    trained = checkpoint.stat().st_mtime_ns
    gone = results / "entries" / "small" / "seed-1" / "scores.npz"  # as if killed while scoring
    before = dict(np.load(gone))
    gone.unlink()
    outcome = run("nowcast.benchmark", "--config", folder / "benchmark.yaml")
    assert outcome.stdout.count("finished before") == 5
    assert "small, seed 1: done" in outcome.stdout
    kept = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert {path.parts[-3:-1] for path in stamps.keys() - kept} == {("small", "seed-1")}
    assert checkpoint.stat().st_mtime_ns == trained
    after = dict(np.load(gone))
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)


def test_other_thresholds_are_another_protocol_and_score_again(cases: Cases) -> None:
    plan = Plan("unused", [], thresholds=[1.0])
    other = Plan("unused", [], thresholds=[2.0])
    assert different(cases.protocol(plan), cases.protocol(plan)) == []
    assert different(cases.protocol(plan), cases.protocol(other)) == ["thresholds"]


def test_changed_data_are_another_protocol(cases: Cases) -> None:
    plan = Plan("unused", [])
    before = cases.protocol(plan)
    packed = np.array(cases.sources[0].frames._packed)
    packed[20, 5, 30] += 1
    cases.sources[0].frames._packed = packed
    assert different(before, cases.protocol(plan)) == ["data_fingerprint"]


def test_an_hour_is_the_sum_of_its_frames_and_missing_where_one_is(cases: Cases) -> None:
    judgement = Judgement(Plan("unused", []), cases, None)
    rate = torch.rand(2, 12, 1, 5, 6)
    rate[0, 3, 0, 2, 4] = torch.nan
    hour = judgement.accumulated(rate)
    assert hour.shape == (2, 1, 1, 5, 6)
    torch.testing.assert_close(hour[1, 0], rate[1].sum(dim=0) * 5 / 60)
    assert hour.isnan().sum() == 1
    assert hour[0, 0, 0, 2, 4].isnan()


def test_sums_survive_the_disk(cases: Cases, tmp_path: Path) -> None:
    plan = Plan("unused", [])
    written, read = Judgement(plan, cases, None), Judgement(plan, cases, None)
    for case in cases:
        written.update(Persistence(), case)
    written.save(tmp_path / "scores.npz")
    read.load(tmp_path / "scores.npz")
    for part, blocks in written.parts.items():
        xr.testing.assert_identical(blocks.total().compute(), read.parts[part].total().compute())
        assert {k: int(v) for k, v in blocks.cases.items()} == {k: int(v) for k, v in read.parts[part].cases.items()}


def test_entries_with_fewer_pixels_are_not_compared(folder: Path, results: Path) -> None:
    path = results / "entries" / "persistence" / "seed-0" / "scores.npz"
    sums = dict(np.load(path))
    try:
        key = next(key for key in sums if "hits" in key and '"rates"' in key and sums[key].any())
        np.savez(path, **(sums | {key: sums[key] - (sums[key] > 0)}))
        outcome = run("nowcast.benchmark", "--config", folder / "benchmark.yaml")
        assert outcome.returncode == 2
        assert "other cases or pixels" in outcome.stderr
    finally:
        np.savez(path, **sums)


def test_a_folder_of_other_data_is_not_overwritten(folder: Path, results: Path) -> None:
    before = (results / "data.yaml").read_text()
    outcome = run("nowcast.benchmark", "--config", folder / "benchmark.yaml", "--data.window.past_frames", 2)
    assert outcome.returncode == 2
    assert "other data" in outcome.stderr
    assert (results / "data.yaml").read_text() == before


def test_an_unknown_option_or_entry_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    for words in (["--thresholdz", "[1]"], ["--entries", '[{"baseline": "persistance"}]']):
        outcome = run("nowcast.benchmark", "--config", folder / "benchmark.yaml", "--folder", tmp_path / "new", *words)
        assert outcome.returncode == 2, outcome.stderr
        assert len(outcome.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["quick", "models", "attentions"])
def test_shipped_benchmarks_can_be_read_and_stand_for_entries_that_exist(name: str) -> None:
    from nowcast.benchmark import parser

    config = parser().parse_args(["--config", f"configs/benchmark/{name}.yaml"])
    made = parser().instantiate(config)
    entries = expand(Plan(folder="unused", entries=made.entries, training=made.training, budget=made.budget))
    assert made.reference in {entry.name for entry in entries}
    assert all(isinstance(one, Entries) for one in made.entries)
