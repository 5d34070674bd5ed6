"""Forecasts of an archive: any forecaster, chosen initial times, streamed into a forecast file."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

import nowcast
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive
from nowcast.data.forecast_file import ForecastWriter
from nowcast.data.windows import find_windows


def possible_starts(archive: Archive, past_frames: int, step_minutes: float) -> np.ndarray:
    """(number, past_frames) frame indices of every complete past in the archive, in the order of time.

    Raises:
        InputError: when the archive's step cannot serve this one, or it has no such run of frames.
    """
    pasts = find_windows(archive, past_frames, step_minutes)
    if not len(pasts):
        raise InputError(
            f"{archive.paths[0]} ({len(archive)} frames) has no {past_frames} frames in a row "
            f"{step_minutes:g} min apart"
        )
    return pasts


def choose_starts(archive: Archive, starts: np.ndarray, chosen: str) -> np.ndarray:
    """The rows of `starts` that end at the chosen times.

    Args:
        archive: of the frames.
        starts: as `possible_starts` gives them.
        chosen: "all", "last", or times like "2016-07-11T21:00,2016-07-11T22:00".

    Raises:
        InputError: for a text that is no time, or a time from which no forecast can be made.
    """
    if chosen == "all":
        return starts
    if chosen == "last":
        return starts[-1:]
    rows = []
    for text in chosen.split(","):
        try:
            time = np.datetime64(text.strip(), "ms")
        except ValueError as error:
            raise InputError(f"init {text!r} is neither all, last nor a time like 2016-07-11T21:00") from error
        row = np.flatnonzero(starts[:, -1] == archive.find(np.array([time]))[0])
        if not len(row):
            first, last = archive.times[starts[0, -1]], archive.times[starts[-1, -1]]
            raise InputError(
                f"no forecast can start at {text.strip()}: it needs a frame then and before; "
                f"from {first} to {last} there are"
            )
        rows.append(int(row[0]))
    return starts[sorted(set(rows))]


def forecast_archive(
    forecaster: Forecaster,
    archive: Archive,
    output: str | os.PathLike,
    starts: np.ndarray,
    steps: int,
    step_minutes: float,
    batch_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Forecast from each start and write all of it as one CF NetCDF file, or nothing.

    Args:
        forecaster: makes the forecasts.
        archive: full frames of any size.
        output: path ending in .nc.
        starts: (number, T_in) frame indices.
        steps: lead times.
        step_minutes: between lead times.
        batch_size: forecasts made at once.
        progress: called with the number of forecasts done and their total.
    """
    lead_times = [round(step_minutes * 60 * (k + 1)) for k in range(steps)]
    with ForecastWriter(output, archive.grid, lead_times, attributes(forecaster, archive)) as writer:
        for first in range(0, len(starts), batch_size):
            rows = starts[first : first + batch_size]
            frames = {index: archive.read(index) for index in np.unique(rows)}
            past = torch.from_numpy(np.stack([np.stack([frames[i] for i in row]) for row in rows])).unsqueeze(2)
            rate = forecaster.forecast(past, steps)[:, :, 0].float().numpy()
            for row, one in zip(rows, rate, strict=True):
                writer.append(archive.times[row[-1]], one)
            progress(first + len(rows), len(starts))


def attributes(forecaster: Forecaster, archive: Archive) -> Mapping[str, Any]:
    """Global attributes of a forecast file: which model, from which checkpoint, of which observations."""
    observed = {key: str(archive.attrs[key]) for key in ("institution",) if key in archive.attrs}
    names: Sequence[str] = sorted({os.path.basename(path) for path in archive.paths})
    return {
        "source": f"nowcast {nowcast.__version__}, {forecaster.name}",
        "model": forecaster.name,
        "nowcast_version": nowcast.__version__,
        "observations": ", ".join(names),
        **observed,
        **forecaster.describe(),
    }
