"""What trainings have left in their run folders, read as far as it can be read.

A folder may be of a run that goes on, was killed in the midst of a line, or is of an older version. What is missing is
None, and what cannot be read is said in `problems`; nothing raises.
"""

import csv
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CONFIG, CURVES, STATE, SKILL, CARD, SAMPLES = (
    "config.yaml", "metrics.csv", "run.json", "skill.csv", "model_card.md", "samples",
)  # fmt: skip
ALIVE_S = 300.0  # a run that wrote nothing for so long is taken for dead

Curve = tuple[list[float], list[float]]  # steps, values


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        name: of its folder, as far as needed to tell it from the others.
        folder: where it is.
        state: finished, running, stopped, failed, or broken where its files cannot be read.
        problems: what could not be read, or why it failed.
        progress: of run.json: epochs, steps, seconds, and how many of them are planned.
        config: resolved, as it stands in config.yaml.
        text: of config.yaml.
        card: text of model_card.md.
        curves: steps and values by name.
        skill: value by forecast, lead time in minutes, threshold in mm/h (None where it has none) and score.
        sample: the newest picture of sample forecasts.
    """

    name: str
    folder: Path
    state: str
    problems: tuple[str, ...] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    card: str | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    skill: Mapping[tuple[str, float, float | None, str], float] = field(default_factory=dict)
    sample: Path | None = None

    def last(self, curve: str) -> float | None:
        """The last value of a curve."""
        return self.curves[curve][1][-1] if curve in self.curves else None


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """All run folders in some folders, at any depth, in order; none within another."""
    found: dict[Path, Path] = {}
    for top in folders:
        for here, below, files in os.walk(top):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if {CONFIG, CURVES, STATE} & set(files):
                found.setdefault(Path(here).resolve(), Path(here))
                below.clear()
    return list(found.values())


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Runs of some folders, the newest first."""
    paths = find_runs(folders)
    common = Path(os.path.commonpath([path.resolve().parent for path in paths])) if paths else Path()
    runs = [read_run(path, str(path.resolve().relative_to(common))) for path in paths]
    return sorted(runs, key=lambda run: (-_changed(run.folder), run.name))


def read_run(folder: Path, name: str) -> Run:
    """A run, whatever its folder holds."""
    problems: list[str] = []

    def read(file: str, parse: Any, otherwise: Any) -> Any:
        try:
            return parse((folder / file).read_text("utf-8"))
        except FileNotFoundError:
            return otherwise
        except Exception as error:  # whatever a half-written file makes a reader raise
            problems.append(f"{file} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}")
            return otherwise

    text = read(CONFIG, str, None)
    config = {} if text is None else read(CONFIG, _mapping, {})
    if text is None and not problems:
        problems.append(f"it has no {CONFIG}")
    curves = read(CURVES, _curves, {})
    progress = read(STATE, _mapping, {})
    skill = read(SKILL, _skill, {})
    card = read(CARD, str, None)
    samples = sorted((folder / SAMPLES).glob("epoch_*.png"), key=lambda path: (len(path.name), path.name))
    state = "broken" if problems else _state(folder, progress)
    if state == "failed" and progress.get("error"):
        problems.append(str(progress["error"]))
    newest = samples[-1] if samples else None
    return Run(name, folder, state, tuple(problems), progress, config, text, card, curves, skill, newest)


def flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of a config with dots, and their values; the same of options of a class."""
    for key, value in config.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def _state(folder: Path, progress: Mapping[str, Any]) -> str:
    said = progress.get("state")
    if said in ("finished", "stopped", "failed"):
        return str(said)
    if said is None and (folder / SKILL).exists():  # of a version that left no run.json
        return "finished"
    return "running" if time.time() - _changed(folder) < ALIVE_S else "stopped"


def _changed(folder: Path) -> float:
    """When a run gave its last sign of life."""
    times = [path.stat().st_mtime for name in (STATE, CURVES, CONFIG) if (path := folder / name).exists()]
    return max(times, default=0.0)


def _mapping(text: str) -> dict[str, Any]:
    content = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError("it is empty or no mapping")
    return content


def _curves(text: str) -> dict[str, Curve]:
    """All columns of metrics.csv; a last line that is not whole is left out."""
    curves: dict[str, Curve] = {}
    for row in csv.DictReader(text.splitlines(), strict=True):
        step = _number(row.get("step"))
        if step is None:
            continue
        for name, value in row.items():
            number = _number(value) if isinstance(value, str) else None
            if name and name != "step" and number is not None:
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(number)
    if text.strip() and not curves:
        raise ValueError("no line of it holds a step and a number")
    return curves


def _skill(text: str) -> dict[tuple[str, float, float | None, str], float]:
    found = {}
    for row in csv.DictReader(text.splitlines()):
        value = _number(row["value"])
        if value is not None:
            threshold = float(row["threshold"]) if row["threshold"] else None
            found[row["forecast"], float(row["lead_time_min"]), threshold, row["score"]] = value
    return found


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
