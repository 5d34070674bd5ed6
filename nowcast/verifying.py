"""Verification of forecast files against an archive: the same cases, lead times and pixels for every file."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache, reduce
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from einops import rearrange

from nowcast.contracts import InputError
from nowcast.data.archive import Archive, Grid
from nowcast.data.forecast_file import ForecastFile
from nowcast.data.places import BEYOND, nearest_pixels, same_place
from nowcast.verification import Pixels, by_forecast, standard_scores

Regrid = Literal["refuse", "nearest"]


def verify_files(
    paths: Sequence[str | os.PathLike],
    archive: Archive,
    thresholds: Sequence[float] = (0.1, 1.0, 5.0),
    pixels: Pixels = "observed",
    progress: Callable[[int, int], None] = lambda done, total: None,
    regrid: Regrid = "refuse",
) -> xr.Dataset:
    """Scores of forecast files by lead time, pooled over cases: one dataset with dimension forecast.

    A case is an initial time that every file has, and whose frames the archive has at every lead time; the
    lead times are those that every file has. The variable `cases` says how many were scored, the attribute
    `initial_times` how many there are in one file or another.

    Args:
        paths: forecast files.
        archive: observations, on the grid of the forecasts.
        thresholds: mm/h, of the categorical scores.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where observation and all
            forecasts exist).
        progress: called with the number of cases done and their total.
        regrid: what becomes of a file on another grid than the archive: "refuse", or "nearest", where each pixel of
            the archive is judged by the forecast for the pixel in which its centre lies.

    Raises:
        InputError: for a file given twice, a file on another grid that is refused or far away, no lead time or no
            initial time that all files have, or no initial time with all its observations.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(closing(ForecastFile.open(path))) for path in _each_once(paths)]
        onto = [_onto(file, archive, regrid) for file in files]
        lead_times_s = _shared_lead_times(files)
        init_times, frames = _cases(files, archive, lead_times_s)
        numbers = [_places(file.init_times, init_times) for file in files]
        steps = [_places(file.lead_times_s, lead_times_s) for file in files]
        scores = [standard_scores((lead_times_s / 60).tolist(), thresholds, pixels) for _ in files]
        read = lru_cache(maxsize=len(lead_times_s))(archive.read)  # the next case needs most of these again
        for case, row in enumerate(frames):
            observed = _batch(np.stack([read(frame) for frame in row]))
            read_in = zip(files, numbers, steps, onto, strict=True)
            rates = [moved(f.read(n[case])[step]) for f, n, step, moved in read_in]
            if pixels == "common":
                rates = _where_all_exist(rates)
            for score, rate in zip(scores, rates, strict=True):
                score.update(_batch(rate), observed)
            progress(case + 1, len(frames))
        computed = [score.compute() for score in scores]
        skill = by_forecast(dict(zip(_labels(files), computed, strict=True)))
        return skill.assign_attrs(initial_times=len(reduce(np.union1d, [file.init_times for file in files])))


def _each_once(paths: Sequence[str | os.PathLike]) -> list[str]:
    for path, times in Counter(os.path.realpath(path) for path in paths).items():
        if times > 1:
            raise InputError(f"{path} is given {times} times; name each forecast file once")
    return [os.fspath(path) for path in paths]


def _onto(file: ForecastFile, archive: Archive, regrid: Regrid) -> Callable[[np.ndarray], np.ndarray]:
    """What brings fields (T, H, W) of a file onto the archive's grid, with NaN where the file has no pixel."""
    one, other = file.grid, archive.grid
    placed = one.crs is not None and other.crs is not None
    if same_place(one, other) if placed else one.same(other):
        return lambda rate: rate
    where = f"{file.path} is on another grid ({_describe(one)}) than {archive.paths[0]} ({_describe(other)})"
    if regrid == "refuse":
        raise InputError(f"{where}; verify against the archive that was forecast, or allow --regrid nearest")
    try:
        pixels = nearest_pixels(one, other)
    except InputError as error:
        raise InputError(f"{where}; {error}") from error
    outside = pixels == BEYOND
    if outside.all():
        raise InputError(f"{where}, and they do not overlap")

    def moved(rate: np.ndarray) -> np.ndarray:
        return np.where(outside, np.float32(np.nan), rate.reshape(len(rate), -1)[:, pixels])

    return moved


def _describe(grid: Grid) -> str:
    spans = (f"{axis.name} from {float(axis[0]):g} to {float(axis[-1]):g}" for axis in (grid.y, grid.x))
    return f"{grid.shape[0]}×{grid.shape[1]}, {', '.join(spans)}"


def _shared_lead_times(files: Sequence[ForecastFile]) -> np.ndarray:
    shared = reduce(np.intersect1d, [file.lead_times_s for file in files])
    if not len(shared):
        minutes = (", ".join(f"{seconds / 60:g}" for seconds in file.lead_times_s) for file in files)
        have = "; ".join(f"{file.path} has {those} min" for file, those in zip(files, minutes, strict=True))
        raise InputError(f"no lead time is in all forecast files: {have}")
    return shared


def _cases(files: Sequence[ForecastFile], archive: Archive, lead_times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Initial times to score, and for each the archive's frame index at every lead time."""
    shared = reduce(np.intersect1d, [file.init_times for file in files])
    if not len(shared):
        have = "; ".join(f"{f.path} has {_span(f.init_times)}" for f in files)
        raise InputError(f"no initial time is in all forecast files: {have}")
    valid = shared[:, None] + lead_times_s.astype("timedelta64[s]")
    frames = archive.find(valid)
    whole = (frames >= 0).all(axis=1)
    if not whole.any():
        raise InputError(
            f"{archive.paths[0]} ({_span(archive.times)}) has all frames for none of the {len(shared)} "
            f"forecasts, which are for {_span(np.unique(valid))}; give the archive of those"
        )
    return shared[whole], frames[whole]


def _span(times: np.ndarray) -> str:
    seconds = times.astype("datetime64[s]")
    return f"{len(times)} times from {seconds.min()} to {seconds.max()}" if len(times) else "no time"


def _places(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted value stands among values, which need not be sorted."""
    order = np.argsort(values)
    return order[np.searchsorted(values, wanted, sorter=order)]


def _where_all_exist(rates: Sequence[np.ndarray]) -> list[np.ndarray]:
    missing = np.isnan(np.stack(rates)).any(axis=0)
    return [np.where(missing, np.float32(np.nan), rate) for rate in rates]


def _batch(rate: np.ndarray) -> torch.Tensor:
    return rearrange(torch.from_numpy(rate), "t h w -> 1 t 1 h w")


def _labels(files: Sequence[ForecastFile]) -> list[str]:
    """Model names; with the file name where models share theirs, and with the path where they share both."""
    labels = [file.model for file in files]
    for details in ([Path(file.path).name for file in files], [file.path for file in files]):
        shared = Counter(labels)
        labels = [
            label if shared[label] == 1 else f"{file.model} ({detail})"
            for label, file, detail in zip(labels, files, details, strict=True)
        ]
    return labels
