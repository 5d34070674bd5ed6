"""A watched folder: whole frames only, in any order, and the latest forecast always whole."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast import baselines
from nowcast.data.archive import write_archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.watching import Watch
from tests.programs import run


class Service:
    """Lands frames of rain in a folder, one a file, and looks as the watch does."""

    def __init__(self, rain: xr.Dataset, folder: Path) -> None:
        self.rain, self.folder, self.said = rain, folder / "in", []  # type: ignore[var-annotated]
        self.folder.mkdir()
        self.output = folder / "latest.nc"
        flow = baselines.create("lagrangian_persistence")
        self.watch = Watch(self.folder, self.output, lambda grid: flow, 2, 300, self.said.append)

    def land(self, *frames: int) -> None:
        for frame in frames:
            write_archive(self.rain.isel(time=[frame]), self.folder / f"radar_{frame:02d}.nc")

    def look(self) -> list[np.datetime64]:
        """What is forecast once all that landed has been seen to change no more."""
        return [time for time in (self.watch.look(), self.watch.look()) if time is not None]

    def time(self, frame: int) -> np.datetime64:
        return self.rain.time.values[frame].astype("datetime64[s]")


@pytest.fixture
def service(rain: xr.Dataset, tmp_path: Path) -> Service:
    return Service(rain, tmp_path)


def test_each_new_frame_is_forecast_from(service: Service) -> None:
    assert service.look() == []
    service.land(3, 4)
    assert service.look() == []
    assert "no forecast, for want of frames of 2020-06-01T12:10:00" in service.said[-1]
    for frame in (5, 6):
        service.land(frame)
        assert service.look() == [service.time(frame)]
        file = ForecastFile.open(service.output)
        assert file.init_times.tolist() == [service.time(frame).astype("datetime64[ms]").item()]
        truth = service.rain.rain_rate[frame + 1].values
        inside = (slice(12, -8), slice(12, -8))
        assert np.corrcoef(file.read(0)[0][inside].ravel(), truth[inside].ravel())[0, 1] > 0.95
        file.close()
    assert service.look() == []
    assert [path.name for path in service.output.parent.iterdir() if path.is_file()] == ["latest.nc"]


def test_a_file_that_is_still_written_is_waited_for(service: Service) -> None:
    service.land(0, 1, 2)
    assert service.look() == [service.time(2)]
    service.land(3)
    whole = (service.folder / "radar_03.nc").read_bytes()
    for share in (0.3, 0.6, 0.9):
        (service.folder / "radar_03.nc").write_bytes(whole[: int(share * len(whole))])
        assert service.watch.look() is None
    (service.folder / "radar_03.nc").write_bytes(whole)
    assert service.look() == [service.time(3)]
    assert not any("radar_03" in said for said in service.said[:-1])


def test_a_late_frame_makes_the_forecast_that_lacked_it(service: Service) -> None:
    service.land(0, 1, 3)
    assert service.look() == []
    service.land(2)
    assert service.look() == [service.time(3)]


def test_a_bad_file_is_told_once_and_the_next_frames_go_on(service: Service) -> None:
    (service.folder / "radar_00.nc").write_bytes(b"")
    service.land(1, 2, 3)
    assert service.look() == [service.time(3)]
    assert sum("radar_00.nc" in said for said in service.said) == 1
    assert service.look() == []
    service.land(0)  # mended, too old to matter
    assert service.look() == []


def test_a_frame_on_another_grid_is_left_out(service: Service) -> None:
    service.land(0, 1, 2)
    service.look()
    write_archive(service.rain.isel(time=[3], x=slice(4, None)), service.folder / "radar_03.nc")
    assert service.look() == []
    assert "on another grid" in service.said[-1]


def test_the_program_says_what_it_needs(tmp_path: Path) -> None:
    words = ["--baseline", "persistence", "--output", tmp_path / "f.nc"]
    assert "needs --step_minutes" in run("nowcast.forecast", *words, "--watch", tmp_path).stderr
    assert "either an archive as --input, or a folder to --watch" in run("nowcast.forecast", *words).stderr
    assert list(tmp_path.iterdir()) == []


def test_options_that_a_watch_would_not_heed_are_refused(tmp_path: Path) -> None:
    words = ["--baseline", "persistence", "--step_minutes", 5, "--output", tmp_path / "f.nc", "--watch", tmp_path]
    got = run("nowcast.forecast", *words, "--members", 3, "--init", "last")
    assert got.returncode == 2
    assert "takes no --members, --init" in got.stderr
