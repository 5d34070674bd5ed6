"""Forecast an archive: `python -m nowcast.forecast --checkpoint RUN --input ARCHIVE --output forecasts.nc`."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from nowcast import baselines
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, Grid
from nowcast.data.forecast_file import ForecastFile
from nowcast.data.forecast_output import Existing
from nowcast.forecasting import Wanted, choose_starts, forecast_archive, possible_starts
from nowcast.products import Product
from nowcast.program import run
from nowcast.report.forecast_maps import plot_forecast
from nowcast.report.progress import progress_bar
from nowcast.tiling import tiled
from nowcast.trained import Trained
from nowcast.watching import Watch


def forecast(
    output: str,
    input: str | None = None,
    watch: Path | None = None,
    checkpoint: str | None = None,
    baseline: str | None = None,
    product: Product = "median",
    init: str = "all",
    minutes: float = 60,
    step_minutes: float | None = None,
    batch_size: int = 1,
    members: int = 0,
    quantiles: list[float] | None = None,
    probabilities: list[float] | None = None,
    tile: str = "auto",
    memory: float = 3,
    overwrite: bool = False,
    resume: bool = False,
    plot: bool = False,
) -> None:
    """Forecast rain from the frames of a radar archive into CF files of mm/h.

    Args:
        output: ending in .nc (one file), .zarr, or / (a folder of one NetCDF file an initial time).
        input: radar archive, a NetCDF or Zarr path or a quoted glob.
        watch: folder in which a service's files land, instead of an archive: OUTPUT.nc is replaced by the forecast
            from each new frame, until interrupted.
        checkpoint: a trained network (best.ckpt of a run, or the run folder).
        baseline: persistence, extrapolation, sprog, anvil, steps, linda, …, instead of a checkpoint.
        product: of a checkpoint: median (least absolute error), mean, matched to the last frame, or events (best CSI).
        init: forecast reference times: all, last, or times separated by commas (2016-07-11T21:00,…).
        minutes: longest lead time.
        step_minutes: between lead times; the network's own, or the archive's for a baseline.
        batch_size: forecasts made at once.
        members: of an ensemble, written beside the rain rate, of forecasters that have one.
        quantiles: levels such as 0.1 0.5 0.9 of rates to be written too.
        probabilities: thresholds in mm/h such as 0.1 1 5 whose probability to be reached is written too.
        tile: side in pixels of the overlapping squares that a network forecasts one by one, or none, or auto: as large
            as memory allows.
        memory: GB that a network may take for a tile, see tile auto.
        overwrite: replace the output that is there.
        resume: go on with a run that was stopped; files of a folder that are there are kept.
        plot: draw the last forecast as maps, OUTPUT.png, and as an animation, OUTPUT.gif.
    """
    if (checkpoint is None) == (baseline is None):
        raise InputError(f"name either a --checkpoint or a --baseline ({', '.join(baselines.names())})")
    if overwrite and resume:
        raise InputError("--resume keeps forecasts that are there and --overwrite replaces them; choose one")
    if (input is None) == (watch is None):
        raise InputError("name either an archive as --input, or a folder to --watch")
    if watch is not None:
        beside = {"members": members, "quantiles": quantiles, "probabilities": probabilities, "plot": plot}
        beside |= {"overwrite": overwrite, "resume": resume, "init": init != "all", "batch_size": batch_size != 1}
        if given := [f"--{option}" for option, value in beside.items() if value]:
            raise InputError(f"--watch forecasts the rain rate from each new frame; it takes no {', '.join(given)}")
    fit, own_step = load(checkpoint, baseline, product)
    if own_step and step_minutes not in (None, own_step):
        raise InputError(f"{checkpoint} forecasts in steps of {own_step:g} min, not {step_minutes:g}")
    step_minutes = own_step or step_minutes
    archive = None if input is None else Archive.open(input)
    step_minutes = step_minutes or (archive.step_s / 60 if archive else None)
    if step_minutes is None:
        raise InputError("a baseline that watches a folder needs --step_minutes, the time between frames")
    steps = round(minutes / step_minutes)
    if steps < 1:
        raise InputError(f"--minutes {minutes:g} is shorter than one step of {step_minutes:g} min")
    if archive is None:
        assert watch is not None
        step, folder = step_minutes, watch

        def fitted(grid: Grid) -> Forecaster:
            chosen = fit(grid, str(folder), step)
            return tiled(chosen, tile, grid.shape, memory) if checkpoint else chosen

        Watch(folder, Path(output), fitted, steps, 60 * step).run()
        return
    forecaster = fit(archive.grid, archive.paths[0], step_minutes)
    starts = choose_starts(archive, possible_starts(archive, forecaster.past_frames, step_minutes), init)
    if checkpoint:
        forecaster = tiled(forecaster, tile, archive.grid.shape, memory / batch_size)
    existing: Existing = "overwrite" if overwrite else "resume" if resume else "refuse"
    wanted = Wanted(members, quantiles or (), probabilities or ())
    with progress_bar("forecasts") as progress:
        forecast_archive(
            forecaster, archive, output, starts, steps, step_minutes, batch_size, progress, existing, wanted
        )
    print(f"{output}: {len(starts)} forecasts of {steps} steps of {step_minutes:g} min by {forecaster.name}")
    if plot:
        draw_last(output)


def load(
    checkpoint: str | None, baseline: str | None, product: Product
) -> tuple[Callable[[Grid, str, float], Forecaster], float | None]:
    """What gives the forecaster for a grid, the name of its source and a time step, and the step that it has itself."""
    if checkpoint is None:
        return lambda grid, source, step: baselines.create_for(str(baseline), grid.pixel_m / 1000, step), None
    trained = Trained.load(checkpoint, "cuda" if torch.cuda.is_available() else "cpu", product)

    def checked(grid: Grid, source: str, step_minutes: float) -> Forecaster:
        trained.check_grid(grid, source)
        return trained

    return checked, trained.step_s / 60


def draw_last(output: str) -> None:
    """Maps and an animation of the last forecast of an output, beside it."""
    with closing(ForecastFile.open(output)) as file:
        rate, start = file.read(len(file.init_times) - 1), file.init_times[-1]
        for ending in (".png", ".gif"):
            path = Path(output).with_suffix(ending)
            plot_forecast(rate, start, file.lead_times_s.tolist(), f"{file.model}, mm/h", path)
            print(path)


if __name__ == "__main__":
    run(forecast)
