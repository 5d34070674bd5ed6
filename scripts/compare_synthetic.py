"""Compare the statistics of synthetic rain with those of real radar events, one table row an archive.

    python scripts/compare_synthetic.py --real data/radar --synthetic data/synthetic

Measured on equal squares in the middle of each grid, at a step of 5 minutes or the archive's own if that is
longer. Speed and lifetime follow rain along its motion by Lucas–Kanade optical flow and semi-Lagrangian
extrapolation (pysteps).
"""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from rich.console import Console
from rich.table import Table

from nowcast.baselines.extrapolation import Extrapolation
from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.statistics import correlation, decorrelation_time, share, spectral_slope, wet_quantiles
from nowcast.program import run

COLUMNS = (
    "archive", "kind", "NaN %", "wet %", "≥ 1 %", "≥ 5 %", "q50", "q90", "q99", "slope", "lifetime min", "speed m/s"
)  # fmt: skip


def compare(real: list[Path], synthetic: list[Path], size_km: float = 192, starts: int = 6, hours: float = 2.0) -> None:
    """Print a table of rain statistics, first of real archives, then of synthetic ones.

    Args:
        real: archives or folders of archives.
        synthetic: archives or folders of archives.
        size_km: side of the squares that are measured, up to 2 × 2 in the middle of each grid.
        starts: how many frames of each square are followed along their motion.
        hours: how long they are followed.
    """
    table = Table(*COLUMNS)
    for paths in (real, synthetic):
        for path in archives(paths):
            table.add_row(*row(Archive.open(path), size_km, starts, hours))
        table.add_section()
    Console(width=150).print(table)


def archives(paths: list[Path]) -> list[Path]:
    """The files among some paths and in the folders among them."""
    found = [file for path in paths for file in (sorted(path.glob("*.nc")) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"{', '.join(map(str, paths))} holds no .nc file")
    return found


def row(archive: Archive, size_km: float, starts: int, hours: float) -> list[str]:
    """What the table says of an archive."""
    every = max(1, round(300 / archive.step_s))
    minutes, pixel_km = every * archive.step_s / 60, archive.grid.pixel_m / 1000
    rate = squares(archive, every, round(size_km / pixel_km))
    shares = [np.isnan(rate).mean(), *(share(rate, threshold) for threshold in (0.1, 1, 5))]
    slope = np.mean([spectral_slope(square, pixel_km) for square in rate])
    lifetime, speed = follow(rate, minutes, starts, hours)
    return [
        archive.name,
        archive.attrs.get("kind", "real"),
        *(f"{100 * part:.1f}" for part in shares),
        *(f"{value:.2f}" for value in wet_quantiles(rate)),
        f"{slope:.2f}",
        f"{lifetime:.0f}",
        f"{speed * pixel_km * 1000 / 60:.1f}",
    ]


def squares(archive: Archive, every: int, side: int) -> np.ndarray:
    """The middle of an archive as (N, T, side, side) mm/h: up to 2 × 2 squares, every so many frames.

    A grid smaller than one square is one rectangle.
    """
    rows, columns = (max(1, min(2, length // side)) for length in archive.grid.shape)
    top, left = (
        max(0, (length - n * side) // 2) for length, n in zip(archive.grid.shape, (rows, columns), strict=True)
    )
    middle = np.s_[top : top + rows * side, left : left + columns * side]
    rate = np.stack([archive.read(index)[middle] for index in range(0, len(archive), every)])
    return rearrange(rate, "time (rows h) (columns w) -> (rows columns) time h w", rows=rows, columns=columns)


def follow(rate: np.ndarray, minutes: float, starts: int, hours: float) -> tuple[float, float]:
    """How long rain carried along its motion stays like what is observed: minutes to 1/e, and pixels a minute.

    Args:
        rate: (N, T, H, W) mm/h.
        minutes: step.
        starts: how many frames of each square are followed; correlations are averaged over all.
        hours: how long each is followed.
    """
    flow = Extrapolation()
    frames = rate.shape[1]
    steps = min(round(60 * hours / minutes), (frames - flow.past_frames) // 2)
    correlations, speeds = [], []
    for last in np.linspace(flow.past_frames, frames - steps, starts).astype(int):
        past, future = rate[:, last - flow.past_frames : last], rate[:, last : last + steps]
        carried = flow.forecast(torch.from_numpy(past)[:, :, None], steps)[:, :, 0].numpy()
        correlations += [
            [correlation(*pair) for pair in zip(*pairs, strict=True)] for pairs in zip(carried, future, strict=True)
        ]
        speeds += [np.hypot(*flow.motion(square)).mean() / minutes for square in past]
    lead_times = minutes * np.arange(1, steps + 1)
    return decorrelation_time(lead_times, np.nanmean(correlations, axis=0)), float(np.mean(speeds))


if __name__ == "__main__":
    run(compare)
