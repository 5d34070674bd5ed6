"""What the entries of a benchmark left, as datasets, a leaderboard and cases to look at.

scores.nc (entry, seed, bound, lead_time, threshold, …), accumulation.nc (of 1-hour sums), differences.nc (from the
reference, with whether their intervals exclude zero), leaderboard.csv and .md, entries.json, protocol.json and
showcase/*.nc.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nowcast.benchmarking.cases import Cases
from nowcast.benchmarking.entry import SHOWN, SUMS, folder_of
from nowcast.benchmarking.plan import Entry, Plan
from nowcast.benchmarking.running import states
from nowcast.benchmarking.scoring import Judgement
from nowcast.contracts import InputError
from nowcast.data.archive import PACK_NODATA, PACK_STEP, unpack
from nowcast.verification import Blocks, difference, interval

RESAMPLES = 300
TABLES = ("scores.nc", "accumulation.nc", "differences.nc")
USUAL_REFERENCE = "sprog"
MOST_SHOWN = 12  # forecasts of a case to look at


def gather(plan: Plan, entries: Sequence[Entry], cases: Cases, protocol: Mapping[str, Any]) -> pd.DataFrame:
    """Write all tables into the plan's folder; the leaderboard, best first, failed entries last.

    Raises:
        InputError: when entries were not scored on the same pixels.
    """
    folder = Path(plan.folder)
    found = states(plan, entries, dict(protocol))
    judgements = {
        (one["entry"]["name"], one["seed"]): _judgement(plan, cases, one, entries)
        for one in found
        if "error" not in one
    }
    _same_pixels(judgements)
    stamp = {"protocol": json.dumps(protocol)}
    for old in TABLES:
        (folder / old).unlink(missing_ok=True)
    for part, file in (("rates", "scores.nc"), ("accumulation", "accumulation.nc")):
        table = _stacked({key: _scores(judgement, part) for key, judgement in judgements.items()})
        if table is not None:
            _write(table.assign_attrs(stamp), folder / file)
    wanted = plan.reference or USUAL_REFERENCE
    reference = next((key for key in judgements if key[0] == wanted), None)
    if reference:
        others = {
            key: difference(j.parts["rates"], judgements[reference].parts["rates"], resamples=RESAMPLES)
            for key, j in judgements.items()
            if key != reference and len(j.parts["rates"].labels) > 1
        }
        table = _stacked(others)
        if table is not None:
            _write(table.assign_attrs(stamp, reference=wanted), folder / "differences.nc")
    board = leaderboard(found, judgements)
    _text(folder / "leaderboard.csv", board.to_csv(index=False, float_format="%.4g"))
    _text(folder / "leaderboard.md", markdown(board))
    _text(folder / "protocol.json", json.dumps(protocol, indent=1))
    _text(folder / "entries.json", json.dumps(_entries(found, plan, cases), indent=1, default=str))
    _showcase(plan, entries, cases, [str(name) for name in board.loc[board.status == "done", "entry"].unique()])
    return board


def leaderboard(found: Sequence[Mapping[str, Any]], judgements: Mapping[tuple[str, int], Judgement]) -> pd.DataFrame:
    """One row an entry and seed: cost, scores at the middle and the last lead time; sorted by CSI at 1 mm/h there."""
    rows = []
    for one in found:
        name, seed = one["entry"]["name"], one["seed"]
        row: dict[str, Any] = {"entry": name, "seed": seed, "status": "failed" if "error" in one else "done"}
        row |= {column: one.get(column) for column in ("parameters", "train_steps", "train_seconds", "latency_s")}
        row["windows_per_second"] = one.get("windows_per_second")
        if (name, seed) in judgements:
            row |= _headline(judgements[name, seed])
        rows.append(row | {"error": one.get("error")})
    board = pd.DataFrame(rows)
    ranks = [column for column in board.columns if column.startswith("csi_1_")] or [
        column for column in board.columns if column.startswith("csi_")
    ]
    return board.sort_values(ranks[-1], ascending=False, na_position="last") if ranks else board


def markdown(board: pd.DataFrame) -> str:
    """The leaderboard as a table for a README: cost, absolute error, and events of 1 mm/h or what is next."""
    leads = [column.removeprefix("mae_") for column in board.columns if column.startswith("mae_")]
    thresholds = [column.split("_")[1] for column in board.columns if column.startswith("csi_")]
    event = "1" if "1" in thresholds else next(iter(thresholds), "")
    names = {
        "parameters": ("parameters", "{:,.0f}"),
        "windows_per_second": ("windows/s in training", "{:.1f}"),
        "latency_s": ("s a forecast", "{:.2f}"),
        **{f"mae_{lead}": (f"MAE {lead} min", "{:.3f}") for lead in leads},
        **{f"csi_{event}_{lead}": (f"CSI ≥ {event} {lead} min", "{:.3f}") for lead in leads},
        **{f"frequency_bias_{event}_{lead}": (f"bias ≥ {event} {lead} min", "{:.2f}") for lead in leads},
    }
    lines = ["| entry | " + " | ".join(title for title, _ in names.values()) + " |", "|---" * (len(names) + 1) + "|"]
    for _, row in board[board.status == "done"].iterrows():
        seed = f", seed {row.seed}" if (board.entry == row.entry).sum() > 1 else ""
        cells = ["–" if pd.isna(row[name]) else form.format(row[name]) for name, (_, form) in names.items()]
        lines.append(f"| {row.entry}{seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _headline(judgement: Judgement) -> dict[str, float]:
    scores = judgement.parts["rates"].total().compute()
    leads = scores.lead_time.values
    row: dict[str, float] = {}
    for lead in dict.fromkeys((leads[(len(leads) - 1) // 2], leads[-1])):
        at = scores.sel(lead_time=lead)
        row |= {f"mae_{lead:g}": float(at.mae), f"rmse_{lead:g}": float(at.rmse)}
        for threshold in scores.threshold.values:
            event = at.sel(threshold=threshold)
            row[f"csi_{threshold:g}_{lead:g}"] = float(event.csi)
            row[f"frequency_bias_{threshold:g}_{lead:g}"] = float(event.frequency_bias)
        row[f"effective_resolution_km_{lead:g}"] = float(at.effective_resolution)
        row[f"log_spectral_distance_{lead:g}"] = float(at.log_spectral_distance)
        if "crps" in judgement.parts:
            row[f"crps_{lead:g}"] = float(judgement.parts["crps"].total().compute().crps.sel(lead_time=lead))
        else:
            row[f"crps_{lead:g}"] = row[f"mae_{lead:g}"]  # of one forecast they are the same
    return row


def _judgement(plan: Plan, cases: Cases, one: Mapping[str, Any], entries: Sequence[Entry]) -> Judgement:
    entry = next(entry for entry in entries if entry.name == one["entry"]["name"])
    judgement = Judgement(plan, cases, one["distribution"])
    judgement.load(folder_of(plan, entry, one["seed"]) / SUMS)
    return judgement


def _same_pixels(judgements: Mapping[tuple[str, int], Judgement]) -> None:
    """Raise InputError unless all entries were scored on the same cases and observed events."""
    first: tuple[tuple[str, int], xr.DataArray, dict] | None = None
    for key, judgement in judgements.items():
        blocks = judgement.parts["rates"]
        events = blocks.total().compute().observed_events
        counted = {label: int(number) for label, number in blocks.cases.items()}
        if first is None:
            first = key, events, counted
        elif counted != first[2] or not events.equals(first[1]):
            raise InputError(
                f"{key[0]} was scored on other cases or pixels than {first[0][0]}, so they cannot be compared; "
                "remove its folder under entries/ and run the benchmark again"
            )


def _scores(judgement: Judgement, part: str) -> xr.Dataset | None:
    if part not in judgement.parts:
        return None
    parts = ("rates", "crps", "ensemble", "probability") if part == "rates" else (part,)
    tables = [_with_bounds(judgement.parts[name]) for name in parts if name in judgement.parts]
    tables = [tables[0], *(table.drop_vars("cases", errors="ignore") for table in tables[1:])]
    return xr.merge(tables, compat="override", join="exact", combine_attrs="drop_conflicts")


def _with_bounds(blocks: Blocks) -> xr.Dataset:
    if len(blocks.labels) > 1:
        return interval(blocks, resamples=RESAMPLES)
    scores = blocks.total().compute()
    names = xr.DataArray(["lower", "score", "upper"], dims="bound", name="bound")
    alone = xr.where(names == "score", 1.0, np.nan)
    return scores.map(lambda score: (alone * score).assign_attrs(score.attrs), keep_attrs=True).assign_coords(
        bound=names
    )


def _stacked(tables: Mapping[tuple[str, int], xr.Dataset | None]) -> xr.Dataset | None:
    """Tables by (entry, seed) as one; the seed of what is not trained is 0."""
    by_entry: dict[str, dict[int, xr.Dataset]] = {}
    for (name, seed), table in tables.items():
        if table is not None:
            by_entry.setdefault(name, {})[seed] = table
    if not by_entry:
        return None
    stacks = []
    for seeds in by_entry.values():
        numbers = xr.DataArray(list(seeds), dims="seed", name="seed")
        stacks.append(xr.concat(list(seeds.values()), dim=numbers, join="exact", combine_attrs="drop_conflicts"))
    names = xr.DataArray(list(by_entry), dims="entry", name="entry")
    return xr.concat(stacks, dim=names, data_vars="all", join="outer", combine_attrs="drop_conflicts")


def _entries(found: Sequence[Mapping[str, Any]], plan: Plan, cases: Cases) -> list[dict[str, Any]]:
    """What the report says of each entry beside its scores."""
    merged: dict[str, dict[str, Any]] = {}
    for one in found:
        entry = one["entry"]
        speed = one.get("windows_per_second")
        fresh = {
            "name": entry["name"],
            "kind": entry["kind"],
            "product": None if entry["kind"] == "baseline" else entry["product"],
            "group": Path(entry["source"]).stem if entry["kind"] == "network" else None,
            "seeds": [],
            "status": "failed" if "error" in one else "done",
            "error": one.get("error"),
            **{key: one.get(key) for key in ("parameters", "train_steps", "train_seconds", "latency_s", "command")},
            "windows_per_second": speed,
            "step_ms": 1000 * cases.data.loading.batch_size / speed if speed else None,
            "config": one.get("config"),
            "folder": str(Path(plan.folder) / "entries"),
        }
        kept = merged.setdefault(entry["name"], fresh)
        kept["seeds"].append(one["seed"])
        if kept["status"] == "failed" and fresh["status"] == "done":
            merged[entry["name"]] = fresh | {"seeds": kept["seeds"]}
    return list(merged.values())


def _showcase(plan: Plan, entries: Sequence[Entry], cases: Cases, ranked: Sequence[str]) -> None:
    """Observed frames of the rainiest cases beside the forecasts of the best entries, the baselines and the worst."""
    folder = Path(plan.folder) / "showcase"
    folder.mkdir(exist_ok=True)
    baselines = [entry.name for entry in entries if entry.kind == "baseline" and entry.name in ranked]
    best = [name for name in ranked if name not in baselines]
    shown = dict.fromkeys([*baselines, *best[: MOST_SHOWN - len(baselines) - 1], *best[-1:]])
    by_name = {entry.name: entry for entry in entries}
    for number, place in enumerate(cases.rainiest(plan.showcase)):
        case, grid = cases[place], cases.archives[place.event].grid
        fields = {}
        for name in shown:
            with np.load(folder_of(plan, by_name[name], by_name[name].seeds[0]) / SHOWN) as file:
                fields[name] = unpack(file[f"arr_{number}"])
        table = (
            xr.Dataset(
                {
                    "rain_rate": (("entry", "lead_time", "y", "x"), np.stack(list(fields.values()))),
                    "observed": (("lead_time", "y", "x"), case.observed[0, :, 0].numpy()),
                    "past": (("past_time", "y", "x"), case.past[0, :, 0].numpy()),
                },
                {
                    "entry": list(fields),
                    "lead_time": list(cases.lead_times),
                    "y": -np.arange(grid.shape[0]) * cases.pixel_km,
                    "x": np.arange(grid.shape[1]) * cases.pixel_km,
                },
                {"init_time": str(case.start), "event": case.event, "pixel_km": cases.pixel_km},
            )
            if fields
            else None
        )
        if table is not None:
            packing = {"dtype": "u2", "scale_factor": PACK_STEP, "_FillValue": PACK_NODATA, "zlib": True}
            _write(table, folder / f"case-{number + 1}.nc", dict.fromkeys(table.data_vars, packing))


def _write(table: xr.Dataset, path: Path, encoding: Mapping[Any, Any] | None = None) -> None:
    part = path.with_name(f".{path.name}")
    table.to_netcdf(part, engine="netcdf4", encoding=encoding)
    os.replace(part, path)


def _text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}")
    part.write_text(text)
    os.replace(part, path)
