"""The whole line in one test: on purely advected rain extrapolation scores almost 1, and persistence falls."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast import baselines
from nowcast.data.archive import Archive, write_archive
from nowcast.forecasting import forecast_archive, possible_starts
from nowcast.report.skill import plot_skill, write_skill_csv
from nowcast.verifying import verify_files
from tests.conftest import moving_rain


@pytest.fixture(scope="module")
def skill(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Scores of both baselines on rain that only moves, from archive to file to scores."""
    folder = tmp_path_factory.mktemp("line")
    write_archive(moving_rain(frames=14, height=128, width=152), folder / "moving.nc")
    archive = Archive.open(folder / "moving.nc")
    for name in ("extrapolation", "persistence"):
        starts = possible_starts(archive, 3, 5)[2:4]
        forecast_archive(baselines.create(name), archive, folder / f"{name}.nc", starts, 6, 5)
    paths = [folder / "extrapolation.nc", folder / "persistence.nc"]
    skill = verify_files(paths, archive, thresholds=(0.1, 1.0), pixels="common")
    write_skill_csv(skill, folder / "skill.csv")
    plot_skill(skill, folder / "skill.png")
    assert Path(folder / "skill.png").stat().st_size > 10_000
    return skill


def test_extrapolation_of_advected_rain_scores_almost_one(skill: xr.Dataset) -> None:
    csi = skill.csi.sel(forecast="extrapolation", threshold=1.0)
    assert (csi > 0.85).all()


def test_persistence_falls_with_lead_time(skill: xr.Dataset) -> None:
    csi = skill.csi.sel(forecast="persistence", threshold=1.0).values
    assert (np.diff(csi) < 0).all()
    mae = skill.mae.sel(forecast="persistence").values
    assert (np.diff(mae) > 0).all()


def test_extrapolation_beats_persistence_at_every_lead_time(skill: xr.Dataset) -> None:
    assert (skill.mae.sel(forecast="extrapolation") < skill.mae.sel(forecast="persistence")).all()
    assert (skill.csi.sel(forecast="extrapolation") > skill.csi.sel(forecast="persistence")).all()
