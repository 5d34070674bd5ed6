"""Puts the page together; see templates/ for what it looks like and does."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nowcast.report.html.caveats import caveats
from nowcast.report.html.figures import default_names, figures, ranked
from nowcast.report.html.folder import Benchmark
from nowcast.report.html.frames import case, legend
from nowcast.report.html.leaderboard import leaderboard
from nowcast.report.pages import SHARED, environment, own, write_whole

HERE = "nowcast.report.html"
SCRIPTS = (
    *((SHARED, name) for name in ("common.js", "table.js", "plots.js")),
    *((HERE, name) for name in ("base.js", "axes.js", "skill.js", "diagrams.js", "cases.js", "start.js")),
)
MOST_LETTERS = 90  # of a part of the protocol that stands in the open
MOST_LISTED = 6  # values of a list in the protocol that stand in the open


def write_report(folder: str | os.PathLike) -> Path:
    """Write report/index.html into the folder of a benchmark, whole or not at all.

    Args:
        folder: that `python -m nowcast.benchmark` has written.

    Returns:
        The page.

    Raises:
        InputError: when something is missing in the folder, or cannot be read.
    """
    benchmark = Benchmark.read(folder)
    page = Path(folder) / "report" / "index.html"
    page.parent.mkdir(exist_ok=True)
    write_whole(render(benchmark), page)
    return page


def render(benchmark: Benchmark) -> str:
    """The page as text. Names, configs and errors are written by people, so all are escaped."""
    entries = ranked(benchmark)
    wanted = default_names(entries)
    return (
        environment(HERE)
        .get_template("page.html.jinja")
        .render(
            title=benchmark.folder.resolve().name,
            benchmark=benchmark,
            table=leaderboard(benchmark),
            caveats=caveats(benchmark),
            protocol={key: shortened(value) for key, value in benchmark.protocol.items()},
            figures=figures(benchmark),
            cases=[case(path, wanted) for path in benchmark.showcase],
            colours=legend(),
            style=own(SHARED, "common.css") + own(HERE, "style.css"),
            scripts=Markup("\n").join(own(*script) for script in SCRIPTS),
            plotly=Markup(get_plotlyjs()),
        )
    )


def shortened(value: Any) -> tuple[str, str | None]:
    """A value of the protocol in a line, and all of it where that is longer."""
    if isinstance(value, list) and not any(isinstance(one, list | Mapping) for one in value):
        every = ", ".join(map(_word, value))
        if len(value) <= 2 * MOST_LISTED:
            return every, None
        return f"{len(value)} values: {', '.join(map(_word, value[:MOST_LISTED]))}, …", every
    if isinstance(value, list | Mapping):
        line = json.dumps(value, ensure_ascii=False)
        return (line, None) if len(line) <= MOST_LETTERS else (f"{len(value)} parts", json.dumps(value, indent=1))
    return _word(value), None


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)
