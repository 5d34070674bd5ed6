"""Skill of forecasts by lead time: as a table for a terminal, a CSV file and a picture of curves."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# Okabe and Ito 2008, "Color Universal Design": colour-blind eyes tell them apart; markers help in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")
LINES, MARKERS = ("-", "--", ":"), "osD^vPX*"
CSV_COLUMNS = ("forecast", "lead_time_min", "threshold", "score", "value", "cases")
PIXEL_RULES = {
    "observed": "all observed pixels, a missing forecast counting as dry",
    "common": "pixels observed and forecast by all",
}

# Columns of the table: variable, head, factor, format.
CONTINUOUS = (
    ("mae", "MAE\nmm/h", 1, ".3f"),
    ("rmse", "RMSE\nmm/h", 1, ".3f"),
    ("bias", "bias\nmm/h", 1, "+.3f"),
    ("missing_share", "missing\n%", 100, ".1f"),
)
CATEGORICAL = (
    ("csi", "CSI", 1, ".3f"),
    ("pod", "POD", 1, ".3f"),
    ("far", "FAR", 1, ".3f"),
    ("frequency_bias", "bias", 1, ".2f"),
)

Column = tuple[str, list[str]]  # head, cells


@dataclass(frozen=True)
class SkillTable:
    """A table a forecast, a row a lead time, for rich to print.

    Columns are errors in mm/h, then the scores of events at each threshold. Where the terminal is too narrow
    for all of them, the scores of further thresholds go below instead of losing digits.

    Args:
        skill: scores with dimensions forecast, lead_time and threshold.
    """

    skill: xr.Dataset

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a heading and one or more tables for each forecast."""
        for number, name in enumerate(self.skill.forecast.values):
            skill = self.skill.isel(forecast=number)
            yield Text(f"{name}, {int(skill.cases)} forecasts, {_pixel_rule(skill)}", style="bold")
            columns: list[Column] = []
            for group in _groups(skill):
                wider = _table(skill, columns + group)
                natural = console.measure(wider, options=options.update(max_width=10_000)).maximum
                if columns and natural > options.max_width:
                    yield _table(skill, columns)
                    columns = []
                columns = columns + group
            yield _table(skill, columns)


def comparison_table(skill: xr.Dataset) -> Table:
    """One table for `rich` to print: MAE and CSI of several forecasts side by side, a row a lead time.

    Args:
        skill: scores with dimensions forecast, lead_time and threshold.
    """
    title = f"{_cases(skill)}; {_pixel_rule(skill)}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("lead\nmin", justify="right", no_wrap=True)
    scores = [("MAE, mm/h", skill.mae)]
    scores += [(f"CSI ≥{threshold:g}", skill.csi.sel(threshold=threshold)) for threshold in skill.threshold.values]
    columns = []
    for head, score in scores:
        for number, name in enumerate(skill.forecast.values):
            table.add_column(f"{head}\n{name}", justify="right", no_wrap=True)
            columns.append(_cells(score.isel(forecast=number), ".3f"))
    for lead, row in zip(skill.lead_time.values, zip(*columns, strict=True), strict=True):
        table.add_row(f"{lead:g}", *row)
    return table


def write_skill_csv(skill: xr.Dataset, path: str | os.PathLike) -> None:
    """Write scores as tidy CSV, a row a number; the threshold (mm/h) is empty for scores that have none.

    Args:
        skill: scores with dimensions forecast, lead_time (minutes) and threshold, and the number of `cases`.
        path: of the CSV; written whole or not at all.
    """
    with _whole(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for name, lead in product(skill.forecast.values, skill.lead_time.values):
            at = skill.sel(forecast=name, lead_time=lead)
            for score, values in at.drop_vars("cases").data_vars.items():
                thresholds = [f"{t:g}" for t in at.threshold.values] if values.dims else [""]
                for threshold, value in zip(thresholds, np.atleast_1d(values.values).tolist(), strict=True):
                    text = str(value) if isinstance(value, int) else f"{value:.8g}"
                    writer.writerow([name, f"{lead:g}", threshold, score, text, int(at.cases)])


def plot_skill(skill: xr.Dataset, path: str | os.PathLike) -> None:
    """Draw MAE, and CSI at each threshold, against lead time as PNG: a line a forecast.

    Args:
        skill: scores with dimensions forecast, lead_time (minutes) and threshold.
        path: of the PNG; written whole or not at all.
    """
    panels = 1 + skill.sizes["threshold"]
    columns = int(np.ceil(np.sqrt(panels)))
    rows = -(-panels // columns)
    width = max(4.6 * columns, 6.0)
    figure = Figure(figsize=(width, 3.3 * rows + 0.9), dpi=110, layout="constrained")
    figure.suptitle(f"{_cases(skill)}; {_pixel_rule(skill)}", fontsize=10)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _curves(axes[0], skill.mae, "mean absolute error (mm h⁻¹)", "MAE")
    for axis, threshold in zip(axes[1:], skill.threshold.values, strict=False):
        title = f"CSI, rain of at least {threshold:g} mm h⁻¹"
        _curves(axis, skill.csi.sel(threshold=threshold), "critical success index", title)
    for axis in axes[panels:]:
        axis.set_axis_off()
    names = [str(name) for name in skill.forecast.values]
    abreast = max(int(width / (0.6 + 0.085 * max(map(len, names)))), 1)
    legend = figure.legend(axes[0].get_lines(), names, loc="outside lower center", ncols=abreast, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a file name is no formula
    with _whole(path) as part:
        figure.savefig(part, format="png")


def _curves(axis: Axes, score: xr.DataArray, label: str, title: str) -> None:
    styles = zip(product(LINES, COLOURS), cycle(MARKERS), strict=False)
    for values, ((line, colour), marker) in zip(score, cycle(styles), strict=False):
        axis.plot(score.lead_time, values, line, color=colour, marker=marker, markersize=4.5, linewidth=1.6)
    axis.set(title=title, xlabel="lead time (min)", ylabel=label)
    axis.set_xlim(left=0)
    if np.isfinite(score).any():
        axis.set_ylim(bottom=0)
    else:
        axis.set_yticks([])
        axis.text(0.5, 0.5, "never observed nor forecast", transform=axis.transAxes, ha="center")
    axis.grid(color="#dddddd", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)


def _groups(skill: xr.Dataset) -> list[list[Column]]:
    """Columns that stay together: the continuous scores, and those of each threshold."""
    groups = [[(head, _cells(skill[name] * factor, form)) for name, head, factor, form in CONTINUOUS]]
    for threshold in skill.threshold.values:
        at = skill.sel(threshold=threshold)
        groups.append(
            [(f"{head}\n≥{threshold:g}", _cells(at[name] * factor, form)) for name, head, factor, form in CATEGORICAL]
        )
    return groups


def _cells(values: xr.DataArray, form: str) -> list[str]:
    return ["–" if np.isnan(value) else format(value, form) for value in values.values]


def _table(skill: xr.Dataset, columns: list[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    leads = [f"{lead:g}" for lead in skill.lead_time.values]
    for head, _ in [("lead\nmin", leads), *columns]:
        table.add_column(head, justify="right", no_wrap=True)
    for row in zip(leads, *(cells for _, cells in columns), strict=True):
        table.add_row(*row)
    return table


def _cases(skill: xr.Dataset) -> str:
    counts = sorted({int(count) for count in skill.cases.values})
    return f"Scores pooled over {' to '.join(map(str, counts))} forecasts"


def _pixel_rule(skill: xr.Dataset) -> str:
    return PIXEL_RULES[skill.attrs["pixels"]]


@contextmanager
def _whole(path: str | os.PathLike) -> Iterator[Path]:
    """A place to write to that becomes `path` when all is written, and is removed when writing fails."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
