"""Scripts that are run by hand do what their help says."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.programs import ROOT
from tests.report.benchmark_folder import BASELINE, NETWORK, write_folder


def benchmark_models(folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Lines of the CSV that the benchmark of models writes, of one thread and small maps."""
    words = ["scripts/benchmark_models.py", "--sizes", "24", "36", "--batch", "2", "--out", str(folder / "cost")]
    ended = subprocess.run(
        [sys.executable, *words, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert (folder / "cost.png").stat().st_size > 0
    with (folder / "cost.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """One network, measured."""
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, benchmark_models(folder, "--names", "rainnet")


def test_a_benchmark_of_models_counts_what_it_runs(measured: tuple[Path, list[dict[str, str]]]) -> None:
    rows = {(row["name"], row["task"], row["size"]): row for row in measured[1]}
    assert not [row["problem"] for row in rows.values() if row["problem"]]
    assert int(rows["matmul", "peak", "0"]["flops"]) == 2 * 1024**3
    small, large = (rows["rainnet", "forecast", size] for size in ("24", "36"))
    # Maps are padded to a multiple of 16, and all counted work is convolutions.
    assert int(large["flops"]) * 32**2 == int(small["flops"]) * 48**2
    assert int(rows["rainnet", "training", "24"]["flops"]) == 3 * 2 * int(small["flops"])  # two windows, three passes
    assert small["parameters"] == "1966532"  # as configs/model/rainnet.yaml says, 1.97 M


def test_a_benchmark_of_models_goes_on_where_it_ended(measured: tuple[Path, list[dict[str, str]]]) -> None:
    folder, before = measured
    after = benchmark_models(folder, "--names", "rainnet", "se_resunet", "--most_seconds", "0.01")
    assert after[: len(before)] == before
    assert {row["name"] for row in after[len(before) :]} == {"se_resunet"}
    assert {row["problem"] for row in after[len(before) :]} == {"over 0.01 s"}


def test_a_benchmark_of_forecasts_has_ratios_and_memory(archive_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "cost.csv"
    words = ["--archive", archive_path, "--output", output, "--side", 32, "--counts", "[1, 3]", "--methods", "[sprog]"]
    ended = subprocess.run(
        [sys.executable, "scripts/benchmark_forecast.py", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    runs = [("extrapolation", "1"), ("sprog", "1"), ("network", "1"), ("network", "3")]
    assert [(row["method"], row["forecasts"]) for row in rows] == runs
    reference = float(rows[0]["a_minute"])
    for row in rows:
        assert float(row["ratio"]) == pytest.approx(float(row["a_minute"]) / reference)
        assert 0 < float(row["outside"]) < 1
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_differences_are_those_of_the_benchmark_with_their_intervals(tmp_path: Path) -> None:
    rain = np.random.default_rng(0).gamma(0.3, 4, (30, 24, 32)).astype(np.float32)
    folder = write_folder(tmp_path / "benchmark", rain)
    words = [folder, tmp_path / "gains", "--lead_time", 15, "--threshold", 5]
    ended = subprocess.run(
        [sys.executable, "scripts/plot_differences.py", "--folder", *map(str, [words[0], "--out", *words[1:]])],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "gains.png").stat().st_size > 0
    with (tmp_path / "gains.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["entry"], row["is_reference"]) for row in rows] == [(NETWORK, "False")] * 2
    assert float(rows[0]["csi"]) >= float(rows[1]["csi"])
    with xr.open_dataset(folder / "scores.nc") as scores:
        csi = scores.csi.sel(lead_time=15, threshold=5, bound="score")
        for row in rows:
            gain = csi.sel(entry=NETWORK, seed=int(row["seed"])) - csi.sel(entry=BASELINE, seed=1)
            assert float(row["csi_difference"]) == pytest.approx(float(gain), abs=1e-3)
            assert float(row["csi_lower"]) <= float(row["csi_difference"]) <= float(row["csi_upper"])
