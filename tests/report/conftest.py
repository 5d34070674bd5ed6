"""A benchmark's folder and its page, made once."""

from pathlib import Path

import pytest
import xarray as xr

from nowcast.report.html import write_report
from tests.conftest import moving_rain
from tests.report.benchmark_folder import write_folder


@pytest.fixture(scope="session")
def benchmark_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the real code under names that hold HTML."""
    rain: xr.Dataset = moving_rain(frames=30)
    return write_folder(tmp_path_factory.mktemp("benchmark"), rain.rain_rate.values)


@pytest.fixture(scope="session")
def page(benchmark_folder: Path) -> Path:
    """The report of that folder."""
    return write_report(benchmark_folder)
