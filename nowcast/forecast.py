"""Forecast an archive: `python -m nowcast.forecast --checkpoint RUN --input ARCHIVE --output forecasts.nc`."""

import sys
import time

import torch

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.forecasting import choose_starts, forecast_archive, possible_starts
from nowcast.products import Product
from nowcast.program import run
from nowcast.trained import Trained


def forecast(
    input: str,
    output: str,
    checkpoint: str | None = None,
    baseline: str | None = None,
    product: Product = "median",
    init: str = "all",
    minutes: float = 60,
    step_minutes: float | None = None,
    batch_size: int = 1,
) -> None:
    """Forecast rain from the frames of a radar archive into a CF NetCDF file of mm/h.

    Args:
        input: radar archive, a NetCDF or Zarr path or a quoted glob.
        output: forecast file to write, ending in .nc.
        checkpoint: a trained network (best.ckpt of a run, or the run folder).
        baseline: persistence, extrapolation, sprog, anvil, steps, linda, …, instead of a checkpoint.
        product: of a checkpoint: median (least absolute error), mean, or matched to the last frame's distribution.
        init: forecast reference times: all, last, or times separated by commas (2016-07-11T21:00,…).
        minutes: longest lead time.
        step_minutes: between lead times; the network's own, or the archive's for a baseline.
        batch_size: forecasts made at once.
    """
    if (checkpoint is None) == (baseline is None):
        raise InputError(f"name either a --checkpoint or a --baseline ({', '.join(baselines.names())})")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    archive = Archive.open(input)
    forecaster = (
        Trained.load(checkpoint, device, product)
        if checkpoint
        else baselines.create_for(str(baseline), archive.grid.pixel_m / 1000, step_minutes or archive.step_s / 60)
    )
    if isinstance(forecaster, Trained):
        forecaster.check(archive)
        if step_minutes not in (None, forecaster.step_s / 60):
            raise InputError(f"{checkpoint} forecasts in steps of {forecaster.step_s / 60:g} min, not {step_minutes:g}")
        step_minutes = forecaster.step_s / 60
    step_minutes = step_minutes or archive.step_s / 60
    steps = round(minutes / step_minutes)
    if steps < 1:
        raise InputError(f"--minutes {minutes:g} is shorter than one step of {step_minutes:g} min")
    starts = choose_starts(archive, possible_starts(archive, forecaster.past_frames, step_minutes), init)
    began = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            rate = done / (time.perf_counter() - began)
            end = "\n" if done == total else "\r"
            print(f"{done}/{total} forecasts, {rate:.2f} a second", end=end, file=sys.stderr, flush=True)

    forecast_archive(forecaster, archive, output, starts, steps, step_minutes, batch_size, progress)
    print(f"{output}: {len(starts)} forecasts of {steps} steps of {step_minutes:g} min by {forecaster.name}")


if __name__ == "__main__":
    run(forecast)
