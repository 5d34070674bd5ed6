"""A watched folder: whole frames only, in any order, and the latest forecast always whole."""

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast import baselines
from nowcast.data.archive import write_archive
from nowcast.data.forecast_file import ForecastFile
from nowcast.watching import Watch
from tests.programs import ROOT, run


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


def test_a_running_program_forecasts_what_lands(rain: xr.Dataset, tmp_path: Path) -> None:
    """Frames come whole, in pieces, and late; each forecast is a line with how long it took."""
    folder, output = tmp_path / "in", tmp_path / "latest.nc"
    folder.mkdir()
    words = ["--baseline", "lagrangian_persistence", "--step_minutes", 5, "--minutes", 10, "--devices", 0]
    command = [sys.executable, "-m", "nowcast.forecast", *map(str, words), "--watch", folder, "--output", output]
    times = [str(time.astype("datetime64[s]")) for time in rain.time.values]
    for frame in range(6):
        write_archive(rain.isel(time=[frame]), tmp_path / f"radar_{frame}.nc")
    # Tests that a shell runs in the background, and what they start, would not heed Ctrl+C.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heeding
    ) as process:
        assert process.stdout is not None
        give_up = threading.Timer(100, process.kill)
        give_up.start()
        try:
            for frame in (0, 1, 2):
                shutil.copy(tmp_path / f"radar_{frame}.nc", folder)
            assert said(process.stdout.readline(), times[2], output)
            assert ForecastFile.open(output).init_times.astype("datetime64[s]").astype(str).tolist() == [times[2]]
            content = (tmp_path / "radar_3.nc").read_bytes()
            with open(folder / "radar_3.nc", "wb", buffering=0) as file:
                for piece in range(0, len(content), len(content) // 8 + 1):
                    file.write(content[piece : piece + len(content) // 8 + 1])
                    time.sleep(0.3)
            assert said(process.stdout.readline(), times[3], output)
            shutil.copy(tmp_path / "radar_5.nc", folder)
            assert f"{times[5]}: no forecast, for want of frames of {times[4]}" in process.stdout.readline()
            shutil.copy(tmp_path / "radar_4.nc", folder)
            assert said(process.stdout.readline(), times[5], output)
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130
        finally:
            give_up.cancel()
            process.kill()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    file = ForecastFile.open(output)
    assert file.init_times.astype("datetime64[s]").astype(str).tolist() == [times[5]]
    truth = rain.rain_rate[6].values[12:-8, 12:-8]
    assert np.corrcoef(file.read(0)[0][12:-8, 12:-8].ravel(), truth.ravel())[0, 1] > 0.95


def said(line: str, init_time: str, output: Path) -> bool:
    """Whether a line tells of a forecast and of the seconds it came after the last file."""
    found = re.fullmatch(rf"{init_time}: {re.escape(str(output))}, ([\d.]+) s after the last file was written\n", line)
    return found is not None and float(found[1]) > 0


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
