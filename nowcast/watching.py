"""Forecasts of a folder in which frames land: each new one is forecast from, and the latest forecast replaced."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Grid, unpack
from nowcast.data.forecast_file import ForecastWriter
from nowcast.data.forecast_layout import Layout
from nowcast.data.intake import Recipe, Refused, Taken, find_files, take_file
from nowcast.data.places import same_place
from nowcast.data.provenance import attributes
from nowcast.data.unfinished import told_as_os_error, told_when_full

TOLERANCE = 0.1  # of a step, by which the time of a frame may be off
OLD_FILES = 24  # are read of those that are there at the start


def say_now(text: str) -> None:
    """Print a line at once, also where nobody looks at a terminal."""
    print(text, flush=True)


class Watch:
    """Looks into a folder, again and again.

    A file is read when it has not changed from one look to the next, so one that is still being written is waited for;
    one that cannot be read is told and tried again when it changes. Frames may come in any order: a late one makes
    the forecast possible that lacked it.

    Args:
        folder: files of any format that `nowcast.ingest` reads.
        output: ends in .nc; replaced, whole, by each forecast.
        forecaster: for a grid, what forecasts on it.
        steps: lead times.
        step_s: seconds between lead times, and between frames.
        say: takes what there is to tell.
        recipe: how files are read.
    """

    def __init__(
        self,
        folder: Path,
        output: Path,
        forecaster: Callable[[Grid], Forecaster],
        steps: int,
        step_s: float,
        say: Callable[[str], None] = say_now,
        recipe: Recipe | None = None,
    ) -> None:
        self.folder, self.output, self.steps, self.step_s = folder, output, steps, step_s
        self.say, self.recipe = say, recipe or Recipe()
        self._make = forecaster
        self._forecaster: Forecaster | None = None
        self._grid: Grid | None = None
        self._states: dict[Path, tuple[int, int]] = {}
        self._read: dict[Path, tuple[int, int]] = {}
        self._frames: dict[np.datetime64, np.ndarray] = {}
        self._latest: np.datetime64 | None = None
        self._told: set[str] = set()

    def run(self, pause_s: float = 1.0) -> None:
        """Look until interrupted."""
        while True:
            self.look()
            time.sleep(pause_s)

    def look(self) -> np.datetime64 | None:
        """Read what has landed; the initial time of the forecast that it made possible, if any."""
        landed = self._landed()
        for path in landed:
            for item in take_file(path, self.recipe):
                self._keep(item)
        if not landed or not self._frames or self._forecaster is None:
            return None
        newest = max(self._frames)
        if self._latest is not None and newest <= self._latest:
            return None
        past = self._past(newest)
        if past is None:
            return None
        rate = self._forecaster.forecast(past, self.steps)[0, :, 0].float().cpu().numpy()
        assert self._grid is not None
        lead = [round(self.step_s * (step + 1)) for step in range(self.steps)]
        layout = Layout(self._grid, lead, attributes(self._forecaster, [path.name for path in landed]))
        with (
            told_when_full(self.output),
            told_as_os_error(self.output),
            ForecastWriter(self.output, layout, np.array([newest])) as file,
        ):
            file.append(layout.pack({"rain_rate": rate}))
        self._latest = newest
        waited = time.time() - max(path.stat().st_mtime for path in landed if path.exists())
        self.say(f"{newest}: {self.output}, {waited:.1f} s after the last file was written")
        return newest

    def _landed(self) -> list[Path]:
        """Files that have not been read as they are, and have not changed since the last look."""
        try:
            files = [path for path in find_files([self.folder]) if path != self.output]
        except InputError:
            return []  # no file yet
        if not self._states:
            self._read = {path: _state(path) for path in files[:-OLD_FILES]}
        states = {path: _state(path) for path in files if path.exists()}
        same = [path for path, state in states.items() if self._states.get(path) == state]
        self._states = states
        landed = [path for path in same if self._read.get(path) != states[path]]
        self._read.update({path: states[path] for path in landed})
        return landed

    @property
    def _needed(self) -> int:
        return self._forecaster.past_frames if self._forecaster else 0

    def _keep(self, item: Taken | Refused) -> None:
        if isinstance(item, Refused):
            self._tell(f"{item.path}: {item.reason}")
            return
        if self._grid is None:
            self._grid, self._forecaster = item.grid, self._make(item.grid)
        if not same_place(item.grid, self._grid):
            self._tell(f"{item.path}: on another grid than the frames before")
            return
        self._frames[item.time] = unpack(item.packed)
        oldest = max(self._frames) - np.timedelta64(round((self._needed + 1) * self.step_s), "s")
        self._frames = {time: frame for time, frame in self._frames.items() if time >= oldest}

    def _past(self, newest: np.datetime64) -> torch.Tensor | None:
        """(1, T_in, 1, H, W) up to the newest frame; None, and said so, where one is missing."""
        times = np.array(sorted(self._frames))
        seconds = np.arange(1 - self._needed, 1) * self.step_s
        wanted = newest + np.round(seconds).astype("timedelta64[s]")
        apart = np.abs(times[:, None] - wanted) / np.timedelta64(1, "s")
        missing = wanted[apart.min(axis=0) > TOLERANCE * self.step_s]
        if len(missing):
            self._tell(f"{newest}: no forecast, for want of frames of {', '.join(map(str, missing))}")
            return None
        nearest = times[apart.argmin(axis=0)]
        return torch.from_numpy(np.stack([self._frames[time] for time in nearest]))[None, :, None]

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            self.say(text)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
