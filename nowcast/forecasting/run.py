"""One run: from chosen frames of an archive to one output."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nowcast.contracts import Forecaster, InputError
from nowcast.data import provenance
from nowcast.data.archive import Archive
from nowcast.data.forecast_images import FORMATS
from nowcast.data.forecast_layout import Layout
from nowcast.data.forecast_output import Existing, FileEach, ForecastOutput, SingleFile
from nowcast.data.forecast_zarr import ZarrStore
from nowcast.forecasting.batches import pipelined
from nowcast.forecasting.processes import Processes, Task, shared_out
from nowcast.forecasting.wanted import Wanted


def forecast_archive(
    forecaster: Forecaster,
    archive: Archive,
    output: str | os.PathLike,
    starts: np.ndarray,
    steps: int,
    step_minutes: float,
    batch_size: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    existing: Existing = "overwrite",
    wanted: Wanted | None = None,
    processes: Processes | None = None,
    format: str | None = None,
) -> None:
    """Forecast from each start into one output, which appears when all of it is there.

    While a batch is forecast the next one is read and the last one written, so memory holds three whatever their
    number. A resumed run makes the same batches again, for a network's last digit may depend on its batch. Processes
    each read, forecast and write whole batches of their own, so they make the same bytes.

    Args:
        forecaster: makes the forecasts.
        archive: full frames of any size.
        output: path ending in .nc, .zarr, or / (a folder of one file an initial time).
        starts: (number, T_in) frame indices.
        steps: lead times.
        step_minutes: between lead times.
        batch_size: forecasts made at once.
        progress: called with the number of forecasts done and their total.
        existing: what becomes of an output that is there, finished or not.
        wanted: what is written beside the rain rate.
        processes: that forecast; None is this one.
        format: geotiff or odim, of files in a folder; None goes by the ending.

    Raises:
        InputError: where the output stands in the way, the disk is full, a process was lost, or the forecaster has not
            what is wanted.
    """
    wanted = wanted or Wanted()
    lead_times = [round(step_minutes * 60 * (k + 1)) for k in range(steps)]
    layout = Layout(archive.grid, lead_times, attributes(forecaster, archive), wanted.fields())
    store = open_output(output, layout, archive.times[starts[:, -1]], {"batch size": batch_size}, format)
    if existing == "resume" and store.is_complete():
        store.tidy()
        progress(len(starts), len(starts))
        return
    with store.opened(existing):
        batches = [range(first, min(first + batch_size, len(starts))) for first in range(0, len(starts), batch_size)]
        left = [batch for batch in batches if not all(map(store.has, batch))]
        done = len(starts) - sum(map(len, left))
        progress(done, len(starts))
        if processes is None:
            written = pipelined(forecaster, archive, store, starts, steps, wanted, left)
        else:
            written = shared_out(processes, Task(archive, store, steps, step_minutes, wanted), starts, left)
        for batch in written:
            done += len(batch)
            progress(done, len(starts))


def open_output(
    path: str | os.PathLike,
    layout: Layout,
    init_times: np.ndarray,
    recipe: Mapping[str, Any] | None = None,
    format: str | None = None,
) -> ForecastOutput:
    """The output that a path asks for by its ending, or a folder of images of a format.

    Raises:
        InputError: for another ending or format.
    """
    name = os.fspath(path)
    kind: type[ForecastOutput]
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"--format is {' or '.join(FORMATS)}, not {format!r}")
        if not name.endswith("/"):
            raise InputError(f"--format {format} writes a file a lead time into a folder; end {name} with /")
        kind = FORMATS[format]
    elif name.endswith(".nc"):
        kind = SingleFile
    elif name.rstrip("/").endswith(".zarr"):
        kind = ZarrStore
    elif name.endswith("/") or os.path.isdir(name):
        kind = FileEach
    else:
        raise InputError(f"{name} must end in .nc (one file), .zarr, or / (a folder of one file an initial time)")
    return kind(path, layout, init_times, recipe)


def attributes(forecaster: Forecaster, archive: Archive) -> Mapping[str, Any]:
    """Global attributes of a forecast file: which model, from which checkpoint, of which observations."""
    return provenance.attributes(forecaster, [os.path.basename(path) for path in archive.paths], archive.attrs)
