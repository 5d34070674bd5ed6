"""The leaderboard as a table of cells: the numbers of leaderboard.csv, the best one of each score marked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nowcast.report.html import wording
from nowcast.report.html.folder import Benchmark, Entry
from nowcast.report.html.wording import Better, Column

OWN = ("entry", "seed", "status", "error")  # columns of the CSV that are not numbers to compare
WORDS = ("kind", "group", "product")


@dataclass(frozen=True)
class Cell:
    """Args: value: as in the CSV; text: as shown; best: whether it is the best of its column."""

    value: str
    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One training of an entry.

    Args:
        place: of the entry in entries.json.
        entry: that it is of.
        error: why it has no scores, or None.
        cells: one for each column.
    """

    place: int
    entry: Entry
    error: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Columns and rows, those that failed last."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def leaderboard(benchmark: Benchmark) -> Table:
    """The table of a benchmark. Entries that are in no row of the CSV, but failed, are added."""
    places = {entry.name: place for place, entry in enumerate(benchmark.entries)}
    lines = [line for line in benchmark.rows if line["entry"] in places]
    there = {line["entry"] for line in lines}
    lines += [{"entry": e.name, "status": "failed"} for e in benchmark.entries if e.failed and e.name not in there]
    words = [word for word in WORDS if len({getattr(entry, word) for entry in benchmark.entries}) > 1]
    keys = [key for key in benchmark.rows[0] if key not in OWN + WORDS] if benchmark.rows else []
    keys = [key for key in keys if any(line.get(key) for line in lines)]
    columns = [Column("seed", "seed"), *map(wording.column, keys)]
    best = {column.key: _best([line.get(column.key, "") for line in lines], column) for column in columns}
    rows = []
    for line in lines:
        entry = benchmark.entries[places[line["entry"]]]
        cells = []
        for column in columns:
            value = line.get(column.key) or ""
            cells.append(Cell(value, _text(value), bool(value) and value == best[column.key]))
        cells += [Cell(getattr(entry, word) or "", getattr(entry, word) or "–") for word in words]
        failed = line.get("status") == "failed"
        error = (line.get("error") or entry.error or "it failed without saying why") if failed else None
        rows.append(Row(places[entry.name], entry, error, tuple(cells)))
    columns += [Column(word, word, text=True) for word in words]
    return Table(tuple(columns), tuple(sorted(rows, key=lambda row: row.error is not None)))


def distance(value: float, better: Better) -> float:
    """How far a score is from perfect, on a scale that says no more than which of two is nearer."""
    if better == "one":
        return abs(math.log(value)) if value > 0 else math.inf
    return {"high": -value, "low": value, "zero": abs(value), "none": 0.0}[better]


def _best(values: Sequence[str], column: Column) -> str | None:
    """The best value of a score; costs have none, because the cheapest forecast is no achievement."""
    numbers = [value for value in values if _number(value) is not None]
    if column.better == "none" or not column.note or len(numbers) < 2:
        return None
    return min(numbers, key=lambda value: distance(float(value), column.better))


def _text(value: str) -> str:
    number = _number(value)
    if number is None:
        return value or "–"
    return f"{number:,.0f}" if number.is_integer() and abs(number) >= 1000 else f"{number:.4g}"


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
