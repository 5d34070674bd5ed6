"""Quick looks at one forecast: a sheet of maps (PNG) and an animation (GIF), on the stepped scale of `maps`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from nowcast.report.maps import RATES, rain_colours

PANEL = 400  # pixels a side that a map is thinned to
FRAMES_A_SECOND = 4


def plot_forecast(
    rate: np.ndarray, start: np.datetime64, lead_times_s: Sequence[int], title: str, path: str | os.PathLike
) -> None:
    """Maps at up to eight lead times, or all of them one after another.

    Args:
        rate: (T_out, H, W) mm/h, north first, NaN where the forecast cannot say.
        start: forecast reference time.
        lead_times_s: of the fields, seconds.
        title: of the sheet.
        path: ends in .png (maps side by side) or .gif (an animation); written whole or not at all.
    """
    path = Path(path)
    thin = max(-(-max(rate.shape[1:]) // PANEL), 1)
    fields = np.ma.masked_invalid(np.stack([_thinned(field, thin) for field in rate]))
    height, width = fields.shape[1:]
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    if path.suffix == ".gif":
        figure = Figure(figsize=(6.5, 5.5 * max(height / width, 0.4) + 0.6), dpi=80, layout="constrained")
        axis = figure.subplots()
        image = _map(axis, fields[0], _caption(start, lead_times_s[0]))
        _bar(figure, [axis], title)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # found once; it would be found anew for each picture

        def turn(number: int) -> list[AxesImage]:
            image.set_data(fields[number])
            axis.set_title(_caption(start, lead_times_s[number]), fontsize=10)
            return [image]

        movie = FuncAnimation(figure, turn, frames=len(fields))
        movie.save(part, writer=PillowWriter(fps=FRAMES_A_SECOND))
    else:
        shown = np.unique(np.linspace(0, len(fields) - 1, min(len(fields), 8)).round().astype(int))
        columns = min(len(shown), 4)
        rows = -(-len(shown) // columns)
        size = (3.0 * columns + 0.8, (3.0 * height / width + 0.4) * rows + 0.5)
        figure = Figure(figsize=size, dpi=90, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, number in zip(axes, shown, strict=False):
            _map(axis, fields[number], _caption(start, lead_times_s[number]))
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        _bar(figure, list(axes), title)
        figure.savefig(part, format="png")
    os.replace(part, path)


def _thinned(field: np.ndarray, thin: int) -> np.ndarray:
    """The heaviest rate of each square of pixels, so that no cell gets lost; NaN where most of it is."""
    if thin == 1:
        return field
    height, width = (length // thin * thin for length in field.shape)
    squares = field[:height, :width].reshape(height // thin, thin, width // thin, thin)
    unknown = np.isnan(squares).mean(axis=(1, 3)) > 0.5
    return np.where(unknown, np.nan, np.where(np.isnan(squares), 0, squares).max(axis=(1, 3)))


def _map(axis: Axes, field: np.ndarray, caption: str) -> AxesImage:
    colours, norm = rain_colours()
    image = axis.imshow(field, cmap=colours, norm=norm, origin="upper", interpolation="nearest")
    axis.set_title(caption, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
    return image


def _bar(figure: Figure, axes: list[Axes], title: str) -> None:
    colours, norm = rain_colours()
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, extend="both", shrink=0.8, aspect=35, ticks=RATES)
    bar.ax.set_yticklabels([f"{rate:g}" for rate in RATES])
    bar.set_label("mm h⁻¹; grey: unknown")
    figure.suptitle(title, fontsize=11)


def _caption(start: np.datetime64, lead_s: int) -> str:
    valid = (start + np.timedelta64(int(lead_s), "s")).astype("datetime64[m]")
    return f"{str(valid).replace('T', ' ')}  +{lead_s / 60:g} min"
