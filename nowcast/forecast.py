"""Forecast an archive: `python -m nowcast.forecast --checkpoint RUN --input ARCHIVE --output forecasts.nc`."""

from contextlib import closing
from pathlib import Path
from typing import Literal

from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, Grid
from nowcast.data.forecast_file import ForecastFile
from nowcast.data.forecast_output import Existing
from nowcast.data.windows import check_step
from nowcast.forecasting import Processes, Wanted, choose_starts, forecast_archive, possible_starts
from nowcast.products import Product
from nowcast.program import run
from nowcast.report.forecast_maps import plot_forecast
from nowcast.report.progress import progress_bar
from nowcast.sources import Source, cuda_devices
from nowcast.trained import Precision, Trained
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
    lagged: int = 0,
    quantiles: list[float] | None = None,
    probabilities: list[float] | None = None,
    format: Literal["geotiff", "odim"] | None = None,
    tile: str = "auto",
    memory: float = 3,
    precision: Precision = "float32",
    jobs: int | None = None,
    dask: str | None = None,
    devices: str = "auto",
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
        checkpoint: a trained network (best.ckpt of a run, or the run folder), or an export of one (.pt2, .onnx).
        baseline: persistence, extrapolation, sprog, anvil, steps, linda, …, instead of a checkpoint.
        product: of a checkpoint: median (least absolute error), mean, matched to the last frame, or events (best CSI).
        init: forecast reference times: all, last, or times separated by commas (2016-07-11T21:00,…).
        minutes: longest lead time.
        step_minutes: between lead times; the network's own, or the archive's for a baseline.
        batch_size: forecasts made at once.
        lagged: initial times whose forecasts, valid at the same times, make an ensemble of any forecaster.
        members: of an ensemble, written beside the rain rate, of forecasters that have one.
        quantiles: levels such as 0.1 0.5 0.9 of rates to be written too.
        probabilities: thresholds in mm/h such as 0.1 1 5 whose probability to be reached is written too.
        format: geotiff or odim, one file a lead time in an output that ends in /; without it the ending decides.
        tile: side in pixels of the overlapping squares that a network forecasts one by one, or none, or auto: as large
            as memory allows.
        memory: GB that a network may take for a tile in each process, see tile auto.
        precision: bfloat16 makes a network faster on processors that have it, and rates differ by about a hundredth.
        jobs: processes of this machine among which Lightning shares out initial times, by batches; one a CUDA device,
            or one, unless given.
        dask: address of a dask scheduler whose workers forecast instead; they must see all files by the same paths.
        devices: CUDA devices that processes take in turn: a number, 0 for the CPU, or auto: all there are.
        overwrite: replace the output that is there.
        resume: go on with a run that was stopped; files of a folder that are there are kept.
        plot: draw the last forecast as maps, OUTPUT.png, and as an animation, OUTPUT.gif.
    """
    if overwrite and resume:
        raise InputError("--resume keeps forecasts that are there and --overwrite replaces them; choose one")
    if (input is None) == (watch is None):
        raise InputError("name either an archive as --input, or a folder to --watch")
    for option, number in (("batch_size", batch_size), ("jobs", jobs), ("step_minutes", step_minutes)):
        if number is not None and number <= 0:
            raise InputError(f"--{option} is above 0, not {number:g}")
    if plot and format:
        raise InputError(f"--plot draws from NetCDF or Zarr outputs, not from --format {format}")
    found = cuda_devices(devices)
    source = Source(checkpoint, baseline, product, tile, memory / batch_size, lagged, found, precision)
    trained = source.load()
    if trained and step_minutes not in (None, trained.step_s / 60):
        raise InputError(f"{checkpoint} forecasts in steps of {trained.step_s / 60:g} min, not {step_minutes:g}")
    step_minutes = trained.step_s / 60 if trained else step_minutes
    if watch is not None:
        beside: dict[str, object] = {"members": members, "quantiles": quantiles, "probabilities": probabilities}
        beside |= {"overwrite": overwrite, "resume": resume, "init": init != "all", "batch_size": batch_size != 1}
        beside |= {"plot": plot, "jobs": jobs, "dask": dask, "format": format, "lagged": lagged}
        if given := [f"--{option}" for option, value in beside.items() if value]:
            raise InputError(f"--watch forecasts the rain rate from each new frame; it takes no {', '.join(given)}")
        keep_watch(watch, Path(output), source, trained, minutes, step_minutes)
        return
    archive = Archive.open(str(input))
    step_minutes = step_minutes or archive.step_s / 60
    steps = count_steps(minutes, step_minutes)
    check_step(archive, step_minutes)  # before the memory of a tile is measured
    forecaster = source.fit(trained, archive.grid, archive.paths[0], step_minutes)
    starts = choose_starts(archive, possible_starts(archive, forecaster.past_frames, step_minutes), init)
    existing: Existing = "overwrite" if overwrite else "resume" if resume else "refuse"
    wanted = Wanted(members, quantiles or (), probabilities or ())
    jobs = max(found, 1) if jobs is None else jobs
    processes = Processes(source.fitted_as(forecaster), jobs, dask) if jobs > 1 or dask else None
    with progress_bar("forecasts") as progress:
        forecast_archive(
            forecaster, archive, output, starts, steps, step_minutes, batch_size, progress, existing, wanted, processes,
            format,
        )  # fmt: skip
    print(f"{output}: {len(starts)} forecasts of {steps} steps of {step_minutes:g} min by {forecaster.name}")
    if plot:
        draw_last(output)


def count_steps(minutes: float, step_minutes: float) -> int:
    """Steps to the longest lead time.

    Raises:
        InputError: when there are none.
    """
    steps = round(minutes / step_minutes)
    if steps < 1:
        raise InputError(f"--minutes {minutes:g} is shorter than one step of {step_minutes:g} min")
    return steps


def keep_watch(
    folder: Path, output: Path, source: Source, trained: Trained | None, minutes: float, step_minutes: float | None
) -> None:
    """Forecast each new frame of a folder until interrupted.

    Raises:
        InputError: when nobody says what the step is.
    """
    if step_minutes is None:
        raise InputError("a baseline that watches a folder needs --step_minutes, the time between frames")
    step: float = step_minutes

    def fitted(grid: Grid) -> Forecaster:
        return source.fit(trained, grid, str(folder), step)

    Watch(folder, output, fitted, count_steps(minutes, step), 60 * step).run()


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
