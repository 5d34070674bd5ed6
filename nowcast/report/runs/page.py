"""Puts the page of runs together; see templates/ for what it looks like and does."""

import base64
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nowcast.report.pages import SHARED, environment, own, write_whole
from nowcast.report.runs.folder import CARD, CONFIG, Curve, Run, read_runs
from nowcast.report.runs.table import table

HERE = "nowcast.report.runs"
SCRIPTS = (*((SHARED, name) for name in ("common.js", "table.js", "plots.js")), (HERE, "runs.js"))
PAGE = "index.html"
SHOWN = 8  # runs in the figures until the reader chooses
MOST_POINTS = 300  # of a curve; longer ones are averaged
MOST_PICTURES = 40  # runs whose samples are in the page, the newest
DIGITS = 5

_BY_LEAD = re.compile(r"(?P<score>val_[^/]+)/(?P<minutes>[\d.]+)min")


def write_page(folders: Sequence[Path], refresh_s: float | None = None) -> Path:
    """Write index.html into the first folder: all runs in all of them, whole or not at all.

    Args:
        folders: in which run folders are looked for, at any depth.
        refresh_s: seconds after which an open page reads itself anew.
    """
    page = folders[0] / PAGE
    write_whole(render(read_runs(folders), page.parent, refresh_s), page)
    return page


def render(runs: Sequence[Run], where: Path, refresh_s: float | None = None) -> str:
    """The page as text, with links that start at a folder."""
    columns, rows = table(runs)
    shown = [run for run in runs if run.curves][:SHOWN]
    links = [_links(run, where) for run in runs]
    return (
        environment(HERE)
        .get_template("page.html.jinja")
        .render(
            title=where.resolve().name,
            columns=columns,
            rows=list(zip(runs, rows, links, strict=True)),
            states=sorted({run.state for run in runs}),
            figures=[figure(run, run in shown, place < MOST_PICTURES) for place, run in enumerate(runs)],
            made=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            refresh_s=refresh_s,
            style=own(SHARED, "common.css") + own(HERE, "runs.css"),
            scripts=Markup("\n").join(own(*script) for script in SCRIPTS),
            plotly=Markup(get_plotlyjs()),
        )
    )


def figure(run: Run, shown: bool = True, pictured: bool = True) -> dict[str, Any]:
    """What the scripts draw of a run: whether it is shown at first, and whether its samples are in the page."""
    leads: dict[str, list[list[float]]] = {}
    curves = {}
    for name, curve in run.curves.items():
        if name != "epoch":
            curves[name] = [[plain(value) for value in part] for part in thinned(curve)]
        match = _BY_LEAD.fullmatch(name)
        if match:
            leads.setdefault(match["score"], []).append([float(match["minutes"]), plain(curve[1][-1])])
    return {
        "name": run.name,
        "shown": shown,
        "curves": curves,
        "leads": {score: sorted(points) for score, points in leads.items()},
        "sample": _picture(run.sample) if run.sample and pictured else None,
        "epoch": run.sample.stem.removeprefix("epoch_").lstrip("0") if run.sample else None,
    }


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """A curve of at most so many points, each a mean of as many neighbours; the last one stays."""
    steps, values = curve
    every = -(-len(steps) // most)
    if every == 1:
        return curve
    starts = range(0, len(steps), every)
    parts = [(steps[start : start + every], values[start : start + every]) for start in starts]
    return [part[-1] for part, _ in parts], [sum(part) / len(part) for _, part in parts]


def plain(value: float) -> float:
    """A number without digits that nobody sees; steps stay whole."""
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")


def _picture(path: Path) -> str | None:
    try:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:  # removed since it was listed
        return None


def _links(run: Run, where: Path) -> dict[str, str]:
    """Files of a run that a browser can show, by name."""
    folder = os.path.relpath(run.folder.resolve(), where.resolve())
    return {name: quote(f"{folder}/{name}") for name in (CONFIG, CARD) if (run.folder / name).exists()}
