"""The table of runs: how far each is, how it fares, and the config keys in which the runs differ."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nowcast.report.runs.folder import Run, flat

LEADS = (30.0, 60.0)  # minutes, of the test skill; where no run has them, the longest lead time of all
CSI_AT = 1.0  # mm/h
BASELINE = "persistence"
# Keys that say where a run is and not what it is.
PLACES = ("run", "resume", "trainer.default_root_dir", "trainer.logger", "data.loading.cache")


@dataclass(frozen=True)
class Column:
    """Args: head: for people; note: its second line; better: high, low, none or text; differs: a key of the config."""

    head: str
    note: str = ""
    better: str = "none"
    differs: bool = False


@dataclass(frozen=True)
class Cell:
    """Args: value: to sort by; text: as shown; more: in smaller letters."""

    value: str
    text: str
    more: str = ""


def table(runs: Sequence[Run]) -> tuple[list[Column], list[list[Cell]]]:
    """Columns, and the cells of each run; columns in which no run has anything are left out."""
    keys, leads = differing(runs), _leads(runs)
    columns = [*_columns(leads), *(Column(_short(key, keys), key, "text", differs=True) for key in keys)]
    configs = [dict(flat(run.config)) for run in runs]
    words = [[_word(config[key]) if key in config else Cell("", "–") for key in keys] for config in configs]
    rows = [[*_fixed(run, leads), *cells] for run, cells in zip(runs, words, strict=True)]
    kept = [k for k, column in enumerate(columns) if column.differs or any(row[k].value for row in rows)]
    return [columns[k] for k in kept], [[row[k] for k in kept] for row in rows]


def differing(runs: Sequence[Run]) -> list[str]:
    """Keys of the config that have not the same value in all runs whose config can be read."""
    configs = [dict(flat(run.config)) for run in runs if run.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [
        key
        for key in keys
        if len({json.dumps(config.get(key), default=str) for config in configs}) > 1
        and not any(key == place or key.startswith(f"{place}.") for place in PLACES)
    ]


def _leads(runs: Sequence[Run]) -> list[float]:
    """Lead times of the columns of test skill."""
    there = {lead for run in runs for _, lead, _, _ in run.skill}
    return [lead for lead in LEADS if lead in there] or sorted(there)[-1:]


def _columns(leads: Sequence[float]) -> list[Column]:
    """What every run has, in the order of `_fixed`."""
    return [
        Column("epochs", "done"),
        Column("steps", "done"),
        Column("val_loss", "last", "low"),
        Column("val_loss", "best", "low"),
        *(Column("test MAE", f"{lead:g} min, mm/h", "low") for lead in leads),
        *(Column("test CSI", f"{lead:g} min, ≥ {CSI_AT:g} mm/h", "high") for lead in leads),
        Column("windows / s", "median", "high"),
        Column("duration", "", "low"),
    ]


def _fixed(run: Run, leads: Sequence[float]) -> list[Cell]:
    progress = run.progress
    losses = run.curves.get("val_loss", ([], []))[1]
    epoch = run.last("epoch")
    steps = run.curves.get("loss", ([], []))[0]
    speeds = run.curves.get("windows_per_second", ([], []))[1]
    return [
        _of(progress.get("epochs", None if epoch is None else epoch + 1), progress.get("max_epochs")),
        _of(progress.get("steps", steps[-1] + 1 if steps else None), progress.get("max_steps")),
        _number(losses[-1] if losses else None),
        _number(min(losses, default=None)),
        *(_test(run, lead, None, "mae") for lead in leads),
        *(_test(run, lead, CSI_AT, "csi") for lead in leads),
        _number(median(speeds) if speeds else None),
        _duration(progress.get("seconds")),
    ]


def _test(run: Run, lead: float, threshold: float | None, score: str) -> Cell:
    """A score of the network, with that of persistence behind it."""
    at = {name: value for (name, *rest), value in run.skill.items() if rest == [lead, threshold, score]}
    baseline = at.pop(BASELINE, None)
    cell = _number(next(iter(at.values()), None))
    return Cell(cell.value, cell.text, "" if baseline is None or not at else f"persistence {baseline:.3g}")


def _of(done: Any, planned: Any) -> Cell:
    if not isinstance(done, int | float):
        return Cell("", "–")
    more = f" / {planned:,.0f}" if isinstance(planned, int | float) and planned > 0 else ""
    return Cell(str(done), f"{done:,.0f}{more}")


def _number(value: float | None) -> Cell:
    return Cell("", "–") if value is None else Cell(repr(float(value)), f"{value:.4g}")


def _duration(seconds: Any) -> Cell:
    if not isinstance(seconds, int | float):
        return Cell("", "–")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return Cell(str(seconds), text)


def _word(value: Any) -> Cell:
    """An option as it stands in the config, of a class only its name."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    of_a_class = re.fullmatch(r"(?:[a-z_]\w*\.)+([A-Z]\w*)", text)
    return Cell(text, of_a_class[1] if of_a_class else text)


def _short(key: str, keys: Sequence[str]) -> str:
    """The end of a key, as long as it needs to be to differ from the others."""
    parts = [part for part in key.split(".") if part not in ("init_args", "class_path")] or [key]
    for length in range(1, len(parts) + 1):
        end = ".".join(parts[-length:])
        others = [".".join(p for p in other.split(".") if p not in ("init_args", "class_path")) for other in keys]
        if sum(other == end or other.endswith(f".{end}") for other in others) == 1:
            return end
    return key
