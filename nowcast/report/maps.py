"""Maps of rain: past, truth and forecasts of one case side by side, on one stepped rain-rate scale."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure

RATES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # mm/h, steps of the colour bar
COLOURS = ("#d6ecff", "#9fd0ff", "#5aa5f0", "#1f6fd0", "#1b9e4b", "#8fce3b", "#f6e04b", "#f59b23", "#e0301e")
DRY, HEAVIEST, NODATA = "#ffffff", "#8e1c86", "#b9b9b9"


@dataclass(frozen=True)
class Case:
    """One forecast beside what happened.

    Args:
        past: (T_in, H, W) mm/h, north first, NaN where not observed.
        observed: (T_out, H, W).
        forecasts: (T_out, H, W) by name.
        start: time of the last past frame.
        step_minutes: between frames.
        pixel_km: grid length.
        title: what and where.
    """

    past: np.ndarray
    observed: np.ndarray
    forecasts: Mapping[str, np.ndarray]
    start: np.datetime64
    step_minutes: float
    pixel_km: float
    title: str


def plot_case(case: Case, path: str | os.PathLike, columns: int = 4) -> None:
    """Draw a case as PNG: a row of past frames, then truth and each forecast at the same lead times.

    Args:
        case: to draw.
        path: of the PNG; written whole or not at all.
        columns: frames a row, spread evenly over the window with the last one always among them.
    """
    futures = _spread(len(case.observed), columns)
    pasts = _spread(len(case.past), columns)
    rows: list[tuple[str, np.ndarray, Sequence[int]]] = [("observed", case.observed, futures)]
    rows += [(name, field, futures) for name, field in case.forecasts.items()]
    height, width = case.past.shape[1:]
    panel = min(2.4 * height / width + 0.25, 4.0)
    figure = Figure(figsize=(2.6 * columns + 1.3, panel * (1 + len(rows)) + 0.9), dpi=90, layout="constrained")
    figure.suptitle(f"{case.title}, forecast from {_clock(case.start)} UTC", fontsize=12)
    axes = figure.subplots(1 + len(rows), columns, squeeze=False, sharex=True, sharey=True)
    _row(axes[0], "past", case, case.past, pasts, [k + 1 - len(case.past) for k in pasts])
    for line, (name, field, frames) in zip(axes[1:], rows, strict=True):
        image = _row(line, name, case, field, frames, [k + 1 for k in frames])
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.75, aspect=40, ticks=RATES)
    bar.ax.set_yticklabels([f"{rate:g}" for rate in RATES])
    bar.set_label("rain rate (mm h⁻¹); grey: no radar coverage")
    for axis in axes[-1]:
        axis.set_xlabel("km east")
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, format="png")
    os.replace(part, path)


def rain_colours() -> tuple[Colormap, BoundaryNorm]:
    """The colours of RATES, white below and grey where a value is masked."""
    colours = ListedColormap(COLOURS).with_extremes(under=DRY, over=HEAVIEST, bad=NODATA)
    return colours, BoundaryNorm(RATES, len(COLOURS))


def _row(
    axes: Sequence[Axes], name: str, case: Case, field: np.ndarray, frames: Sequence[int], offsets: Sequence[int]
) -> ScalarMappable:
    colours, norm = rain_colours()
    height, width = field.shape[1:]
    extent = (0, width * case.pixel_km, 0, height * case.pixel_km)
    for axis in axes[len(frames) :]:
        axis.set_axis_off()
    for axis, frame, offset in zip(axes, frames, offsets, strict=False):
        axis.imshow(
            np.ma.masked_invalid(field[frame]), cmap=colours, norm=norm, origin="upper", extent=extent,
            interpolation="nearest",
        )  # fmt: skip
        minutes = offset * case.step_minutes
        valid = case.start + np.timedelta64(round(minutes * 60), "s")
        axis.set_title(f"{minutes:+.0f} min · {_clock(valid)[-5:]}", fontsize=9)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel(f"{name}\nkm north", fontsize=10)
    return ScalarMappable(norm, colours)


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` frames, evenly spread and ending with the last."""
    if count <= most:
        return list(range(count))
    return [round((k + 1) * count / most) - 1 for k in range(most)]


def _clock(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ")
