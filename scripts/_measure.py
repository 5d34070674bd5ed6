"""What the benchmarks share: a stopwatch, growth with the pixels, CSV files and axes of plots."""

import csv
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import linear_regression

import torch
from matplotlib.axes import Axes


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long some work takes, to its end on a GPU too."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def growth(points: Iterable[tuple[int, float]]) -> float:
    """p of quantity ~ pixels^p, least squares of logarithms over the three largest sizes; NaN of one size.

    Args:
        points: pixels and quantity.
    """
    largest = sorted(points)[-3:]
    if len(largest) < 2:
        return math.nan
    pixels, values = zip(*((math.log(pixels), math.log(max(value, 1e-9))) for pixels, value in largest), strict=True)
    return linear_regression(pixels, values).slope


def write_csv(heading: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    """A line for the heading and one a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def label_sizes(axis: Axes, pixels: Iterable[int]) -> None:
    """Ticks where maps were measured, as 64² and the like, and a faint grid."""
    pixels = sorted(set(pixels))
    axis.set_xticks(pixels, [f"{math.isqrt(n)}²" for n in pixels], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def draw_slopes(axis: Axes, pixels: Iterable[int], height: float) -> None:
    """Faint guides of slope 1 (dotted) and 2 (dashed) that begin at a height."""
    pixels = sorted(pixels)
    start, end = pixels[0], pixels[-1]
    for power, style in ((1, ":"), (2, "--")):
        axis.plot([start, end], [height, height * (end / start) ** power], style, color="0.6", lw=0.8)
