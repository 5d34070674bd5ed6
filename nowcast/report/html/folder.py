"""What a benchmark has left in its folder, read and checked."""

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import xarray as xr


@dataclass(frozen=True)
class Entry:
    """One forecaster of a benchmark and what is known of it beside its scores; None is "not known".

    Args:
        name: in all tables.
        kind: baseline, network or checkpoint.
        status: done or failed.
        error: why it failed.
        product: which field of a distribution was scored.
        group: what it belongs to, such as a model family.
        seeds: of its trainings.
        parameters: number of weights.
        train_steps: of the optimiser.
        train_seconds: of all its training.
        windows_per_second: in training.
        step_ms: milliseconds a training step.
        latency_s: seconds a forecast.
        command: that made it.
        config: of its training, as text.
        folder: of its files.
    """

    name: str
    kind: str
    status: str = "done"
    error: str | None = None
    product: str | None = None
    group: str | None = None
    seeds: tuple[int, ...] = ()
    parameters: float | None = None
    train_steps: float | None = None
    train_seconds: float | None = None
    windows_per_second: float | None = None
    step_ms: float | None = None
    latency_s: float | None = None
    command: str | None = None
    config: str | None = None
    folder: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it has no scores."""
        return self.status == "failed"

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """An entry of entries.json; what this page does not show is left out."""
        known = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        return cls(**known | {"seeds": tuple(given.get("seeds") or ())})


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's folder.

    Args:
        folder: where it is.
        text: of the benchmark file, with everything resolved.
        protocol: that is the same for every score.
        entries: in the order of the file.
        rows: of the leaderboard, text by column.
        scores: by entry, seed, bound, lead time and more; None where every entry failed.
        accumulation: the same of 1-hour accumulations, where the lead times reach an hour.
        differences: of scores from those of a reference entry.
        showcase: files of cases to look at.
    """

    folder: Path
    text: str
    protocol: Mapping[str, Any]
    entries: tuple[Entry, ...]
    rows: tuple[Mapping[str, str], ...]
    scores: xr.Dataset | None
    accumulation: xr.Dataset | None
    differences: xr.Dataset | None
    showcase: tuple[Path, ...]

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Self:
        """Read everything but the showcase.

        Raises:
            InputError: for a folder in which something is missing or cannot be read.
        """
        folder = Path(folder)
        try:
            with open(folder / "leaderboard.csv", newline="", encoding="utf-8") as file:
                rows = tuple(csv.DictReader(file))
            entries = tuple(map(Entry.from_json, json.loads((folder / "entries.json").read_text("utf-8"))))
            benchmark = cls(
                folder=folder,
                text=(folder / "benchmark.yaml").read_text("utf-8"),
                protocol=json.loads((folder / "protocol.json").read_text("utf-8")),
                entries=entries,
                rows=rows,
                scores=_scores(folder / "scores.nc"),
                accumulation=_scores(folder / "accumulation.nc"),
                differences=_scores(folder / "differences.nc"),
                showcase=tuple(sorted((folder / "showcase").glob("*.nc"))),
            )
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise unusable(f"{folder} has no {name}, so there is no benchmark to report; run it first") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise unusable(f"the benchmark in {folder} cannot be read: {error}; run it again") from error
        if benchmark.scores is None and not all(entry.failed for entry in entries):
            raise unusable(f"{folder} has no scores.nc, so there is no benchmark to report; run it first")
        return benchmark

    @property
    def scored(self) -> list[Entry]:
        """Entries that have scores."""
        names = set() if self.scores is None else set(map(str, self.scores.entry.values))
        return [entry for entry in self.entries if entry.name in names]


def unusable(message: str) -> ValueError:
    """An InputError; imported when there is one, because contracts needs torch and pages do not."""
    from nowcast.contracts import InputError

    return InputError(message)


def _scores(path: Path) -> xr.Dataset | None:
    return xr.load_dataset(path, engine="netcdf4") if path.exists() else None
