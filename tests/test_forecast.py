"""`python -m nowcast.forecast`: bad input is one line, exit code 2 and no file; real events go through."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.sources import Source
from tests.broken import BROKEN
from tests.programs import run


@pytest.mark.parametrize("name", BROKEN)
def test_an_unusable_archive_leaves_no_forecast(broken: Path, tmp_path: Path, name: str) -> None:
    got = run(
        "nowcast.forecast", "--baseline", "persistence", "--input", broken / name, "--output", tmp_path / "f.nc"
    )  # fmt: skip
    culprit, wrong = BROKEN[name]
    assert got.returncode == 2
    assert culprit in got.stderr
    assert wrong in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


MISTAKES = {
    "no forecaster": ([], "either a --checkpoint or a --baseline"),
    "two forecasters": (["--baseline", "persistence", "--checkpoint", "a.ckpt"], "either a --checkpoint or"),
    "an unknown baseline": (["--baseline", "persistance"], "did you mean persistence"),
    "a quantile that is none": (["--baseline", "persistence", "--quantiles", "50"], "levels between 0 and 1"),
    "no lead time": (["--baseline", "persistence", "--minutes", "2"], "shorter than one step of 5 min"),
    "an impossible step": (
        ["--baseline", "persistence", "--step_minutes", "7"],
        "cannot serve a step of 7 min",
    ),
    "no network": (["--baseline", "persistence", "--precision", "bfloat16"], "--precision bfloat16 is for checkpoints"),
    "no batch": (["--baseline", "persistence", "--batch_size", "0"], "--batch_size is above 0, not 0"),
    "no process": (["--baseline", "persistence", "--jobs", "0"], "--jobs is above 0, not 0"),
    "no time": (["--baseline", "persistence", "--step_minutes", "0"], "--step_minutes is above 0, not 0"),
    "a checkpoint that is none": (["--checkpoint", "README.md"], "README.md cannot be read as a checkpoint"),
    "a misspelt option": (["--baseline", "persistence", "--outptu", "f.nc"], "did you mean output"),
    "another ending": (["--baseline", "persistence", "--output", "f.png"], "must end in .nc (one file), .zarr, or /"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line(archive_path: Path, tmp_path: Path, mistake: str) -> None:
    arguments, said = MISTAKES[mistake]
    got = run("nowcast.forecast", "--input", archive_path, "--output", tmp_path / "f.nc", *arguments)
    assert got.returncode == 2
    assert said in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_cannot_be_is_told_before_memory_is_measured_for_tiles(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "fit", lambda *_: pytest.fail("fitted to the archive"))
    words = ["--baseline", "persistence", "--step_minutes", 7]
    got = run("nowcast.forecast", "--input", archive_path, "--output", tmp_path / "f.nc", *words)
    assert got.returncode == 2
    assert "cannot serve a step of 7 min" in got.stderr


def test_extrapolation_of_a_real_event_beats_persistence(real_events: Path, tmp_path: Path) -> None:
    event, time = real_events / "mch_20160711.nc", "2016-07-11T22:00"
    errors = {}
    for baseline in ("persistence", "extrapolation"):
        output = tmp_path / f"{baseline}.nc"
        got = run(
            "nowcast.forecast", "--baseline", baseline, "--input", event, "--output", output,
            "--init", time, "--minutes", 30,
        )  # fmt: skip
        assert got.returncode == 0, got.stderr
        with xr.open_dataset(output, decode_timedelta=True) as forecasts, xr.open_dataset(event) as observed:
            last = forecasts.rain_rate.isel(init_time=0, lead_time=-1)
            truth = observed.rain_rate.sel(time=np.datetime64(time) + np.timedelta64(30, "m"))
            errors[baseline] = float(abs(last.fillna(0) - truth).mean())
            assert forecasts.rain_rate.shape == (1, 6, 640, 710)
    assert errors["extrapolation"] < 0.8 * errors["persistence"]


def test_outputs_are_resumed_replaced_or_refused(archive_path: Path, tmp_path: Path) -> None:
    words = ["--baseline", "persistence", "--input", archive_path, "--minutes", 10, "--output", tmp_path / "f.nc"]
    assert run("nowcast.forecast", *words).returncode == 0
    refused = run("nowcast.forecast", *words)
    assert refused.returncode == 2
    assert "f.nc exists; --overwrite replaces it" in refused.stderr
    before = (tmp_path / "f.nc").read_bytes()
    assert run("nowcast.forecast", *words, "--resume").returncode == 0
    assert (tmp_path / "f.nc").read_bytes() == before
    assert run("nowcast.forecast", *words, "--overwrite", "--init", "last").returncode == 0
    assert xr.open_dataset(tmp_path / "f.nc").sizes["init_time"] == 1
    both = run("nowcast.forecast", *words, "--overwrite", "--resume")
    assert both.returncode == 2
    assert "choose one" in both.stderr


def test_members_and_maps_are_made_when_asked_for(archive_path: Path, tmp_path: Path) -> None:
    got = run(
        "nowcast.forecast", "--baseline", "steps", "--input", archive_path, "--minutes", 5, "--init", "last",
        "--output", tmp_path / "f.zarr", "--members", 2, "--probabilities", 0.1, 1, "--plot",
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    with xr.open_dataset(tmp_path / "f.zarr", engine="zarr") as made:
        assert made["rain_rate_ensemble"].sizes["realization"] == 2
        assert made["threshold"].values.tolist() == [0.1, 1]
    assert {path.name for path in tmp_path.iterdir()} == {"f.zarr", "f.png", "f.gif"}
    without = run(
        "nowcast.forecast", "--baseline", "persistence", "--input", archive_path, "--output", tmp_path / "g.nc",
        "--quantiles", 0.5,
    )  # fmt: skip
    assert without.returncode == 2
    assert "persistence makes one forecast, it has no quantiles" in without.stderr
