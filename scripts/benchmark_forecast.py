"""Forecasts a minute from archive to file, beside pysteps, and memory against the number of forecasts.

    python scripts/benchmark_forecast.py --archive FILE
    python scripts/benchmark_forecast.py --archive FILE --checkpoint runs/real --counts '[4, 16]' --side 256

Every method forecasts the same initial times of the same square of an archive, 12 lead times, as `nowcast.forecast`
does, in a process of its own that imports first and makes one forecast that is not counted. The table has forecasts a
minute, their ratio to pysteps' extrapolation, the processor's seconds for each, the share of time spent outside the
forecaster (what reading and writing cost that did not overlap), and the most memory of the process. For the network all
is repeated for growing numbers of initial times, which must not change the memory; OUTPUT.png draws that.
"""

import csv
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table

from nowcast import baselines, models
from nowcast.allocator import keep_freed_memory
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, write_archive
from nowcast.data.lazy import lazy_frames
from nowcast.forecasting import forecast_archive, possible_starts
from nowcast.program import run
from nowcast.trained import Precision, Trained

STEPS = 12
REFERENCE = "extrapolation"
SMALL = {"name": "se_resunet", "width": 16, "depth": 4, "attention": "se"}  # of configs/quickstart.yaml
HEADING = ("method", "forecasts", "a_minute", "ratio", "cpu_seconds_each", "outside", "peak_mb")


class Timed(Forecaster):
    """A forecaster that keeps count of the seconds it takes."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster, self.seconds = forecaster, 0.0
        self.name, self.past_frames = forecaster.name, forecaster.past_frames

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """That of the forecaster."""
        began = time.perf_counter()
        made = self.forecaster.forecast(past, steps)
        self.seconds += time.perf_counter() - began
        return made


def main(
    archive: Path,
    output: Path = Path("forecast_benchmark.csv"),
    checkpoint: str | None = None,
    methods: list[str] | None = None,
    counts: list[int] | None = None,
    side: int = 448,
    precision: Precision = "float32",
    ending: str = ".nc",
) -> None:
    """Measure forecasting from archive to file.

    Args:
        archive: of at least `side` pixels a side; used again and again when it has too few frames.
        output: CSV file.
        checkpoint: of the network; without one the network of configs/quickstart.yaml, untrained, is as fast.
        methods: baselines beside it; extrapolation, sprog and lagrangian_persistence unless given.
        counts: numbers of initial times for the memory curve; 8, 16 and 32 unless given. All methods make the first.
        side: of the square, in pixels.
        precision: of the network, float32 or bfloat16.
        ending: .nc, .zarr or /.
    """
    counts = counts or [8, 16, 32]
    names = list(dict.fromkeys([REFERENCE, *(methods or ["sprog", "lagrangian_persistence"])]))
    with tempfile.TemporaryDirectory() as folder:
        square = Path(folder) / "square.nc"
        _cut(archive, square, side, max(counts) + 8)
        jobs = [(name, counts[0]) for name in names] + [("network", count) for count in counts]
        rows = []
        for name, count in jobs:
            said, say = multiprocessing.get_context("spawn").Pipe(duplex=False)
            process = multiprocessing.get_context("spawn").Process(
                target=_measure,
                args=(name, count, str(square), f"{folder}/{name}{count}{ending}", checkpoint, precision, say),
            )
            process.start()
            say.close()
            rows.append((name, count, *said.recv()))
            process.join()
    reference = rows[0][2]
    table = [(name, count, rate, rate / reference, *others) for name, count, rate, *others in rows]
    with open(output, "w", newline="") as file:
        csv.writer(file).writerows([HEADING, *table])
    shown = Table(*HEADING)
    for name, count, rate, ratio, each, outside, peak in table:
        shown.add_row(name, str(count), f"{rate:.1f}", f"{ratio:.2f}", f"{each:.2f}", f"{outside:.0%}", f"{peak:.0f}")
    Console().print(shown)
    _draw([(count, peak) for name, count, *_, peak in table if name == "network"], output.with_suffix(".png"))
    print(output, output.with_suffix(".png"))


def _cut(archive: Path, square: Path, side: int, frames: int) -> None:
    """The middle of an archive, its frames run to and fro until there are enough."""
    source = lazy_frames(Archive.open(archive))
    if min(source.shape[1:]) < side:
        raise InputError(f"{archive} has {source.shape[1]} × {source.shape[2]} pixels, fewer than {side} a side")
    top, left = ((length - side) // 2 for length in source.shape[1:])
    there = np.concatenate([np.arange(len(source)), np.arange(len(source))[::-1]])
    rate = source[:, top : top + side, left : left + side].isel(time=np.resize(there, frames))
    rate["time"] = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(300, "s")
    rate.attrs.pop("grid_mapping", None)
    write_archive(xr.Dataset({"rain_rate": rate.drop_vars("crs", errors="ignore").compute()}), square)


def _draw(points: list[tuple[int, float]], path: Path) -> None:
    """The most memory of the network's processes against the number of initial times, from zero."""
    figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
    counts, peaks = zip(*points, strict=True)
    axis.plot(counts, peaks, "o-")
    axis.set(xlabel="initial times", ylabel="most memory of the process, MB", xlim=(0, None), ylim=(0, None))
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _measure(  # type: ignore[no-untyped-def]
    name: str, count: int, square: str, output: str, checkpoint: str | None, precision: Precision, say
) -> None:
    """Send forecasts a minute, processor seconds each, the share of time outside, and the peak of memory in MB."""
    keep_freed_memory()
    archive = Archive.open(square)
    forecaster: Forecaster
    if name == "network":
        forecaster = _network(checkpoint, archive)
        forecaster.precision = precision
    else:
        forecaster = baselines.create(name)
    starts = possible_starts(archive, forecaster.past_frames, 5)[:count]
    forecaster.forecast(torch.from_numpy(np.stack([archive.read(i) for i in starts[0]]))[None, :, None], STEPS)
    timed = Timed(forecaster)
    began, busy = time.perf_counter(), time.process_time()
    forecast_archive(timed, archive, output, starts, STEPS, 5)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    say.send((60 * len(starts) / seconds, busy / len(starts), 1 - timed.seconds / seconds, peak))


def _network(checkpoint: str | None, archive: Archive) -> Trained:
    if checkpoint:
        return Trained.load(checkpoint)
    network = models.create(SMALL, past_frames=4, steps=STEPS).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    facts = {"past_frames": 4, "steps": STEPS, "step_s": 300, "pixel_m": archive.grid.pixel_m}
    return Trained(network, facts, {"network": {"class_path": "nowcast.models.se_resunet.SEResUNet"}}, "untrained")


if __name__ == "__main__":
    run(main)
