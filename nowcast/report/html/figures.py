"""The numbers that the figures of the page draw, as plain lists: shorter than 5 digits, and None where there is none.

Seeds of an entry are averaged, and so are the ends of their intervals. Those are of the same resampled cases, so the
interval of the average is a little narrower than what is drawn, never wider.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nowcast.report.html import wording
from nowcast.report.html.folder import Benchmark, Entry

SHOWN = 8  # of the best, beside the baselines
FEW = 12  # entries that are all shown
HEADLINE_MM_PER_HOUR = 1.0
MOST_WAVELENGTHS = 64
DIGITS = 5
COSTS = ("parameters", "latency_s", "step_ms", "train_seconds")
WIDTHS = ("neighbourhood", "scale")  # km, dimensions of scores beside lead time and threshold
NO_SKILL = ("observed_events", "pixel_count", "rank_count", "sal_count", "ensemble_spread", "uncertainty", "sharpness")

Plain = list[Any] | float | None


def figures(benchmark: Benchmark) -> dict[str, Any]:
    """Everything that the page's scripts need beside the cases; entries with the best one first."""
    entries = ranked(benchmark)
    names = [entry.name for entry in entries]
    shown = default_names(entries)
    data: dict[str, Any] = {
        "entries": [
            {"name": entry.name, "kind": entry.kind, "shown": entry.name in shown}
            | {cost: getattr(entry, cost) for cost in COSTS}
            for entry in entries
        ],
        "sets": [],
        "reference": None,
        "probability": None,
        "spectra": None,
        "ranks": None,
    }
    if benchmark.scores is None:
        return data
    scores, differences = benchmark.scores.reindex(entry=names), benchmark.differences
    if differences is not None:
        data["reference"] = differences.attrs.get("reference")
        differences = differences.reindex(entry=names)
    data["sets"].append(curves(scores, differences, "rain rate", "mm/h"))
    if benchmark.accumulation is not None:
        data["sets"].append(curves(benchmark.accumulation.reindex(entry=names), None, "1-hour sums", "mm"))
    return data | {"probability": reliability(scores), "spectra": spectra(scores), "ranks": ranks(scores)}


def ranked(benchmark: Benchmark) -> list[Entry]:
    """Entries with scores, best first: by CSI at the threshold nearest 1 mm/h and the longest lead time."""
    scores = benchmark.scores
    if scores is None or "csi" not in scores:
        return benchmark.scored
    csi = over_seeds(scores.csi).sel(bound="score").isel(lead_time=-1)
    csi = csi.sel(threshold=HEADLINE_MM_PER_HOUR, method="nearest").fillna(-np.inf)
    return sorted(benchmark.scored, key=lambda entry: -float(csi.sel(entry=entry.name)))


def default_names(entries: Sequence[Entry]) -> set[str]:
    """Entries, best first, that figures show until the reader chooses: the best and the baselines, or all of a few."""
    if len(entries) <= FEW:
        return {entry.name for entry in entries}
    others = [entry for entry in entries if entry.kind != "baseline"]
    return {entry.name for entry in entries if entry.kind == "baseline" or entry in others[:SHOWN]}


def curves(scores: xr.Dataset, differences: xr.Dataset | None, label: str, unit: str) -> dict[str, Any]:
    """Scores against lead time: values are lists by entry, bound, lead time and, where they have one, threshold."""
    found = []
    for name, score in scores.data_vars.items():
        other = None if differences is None or name not in differences else differences[name]
        if {"seed", "bound", "lead_time"} <= set(score.dims) and name not in NO_SKILL:
            found += list(_curve(str(name), score, other))
    return {
        "label": label,
        "unit": unit,
        "leads": scores.lead_time.values.tolist(),
        "thresholds": scores.threshold.values.tolist() if "threshold" in scores.dims else [],
        "scores": found,
    }


def _curve(name: str, score: xr.DataArray, difference: xr.DataArray | None) -> Iterator[dict[str, Any]]:
    """A score, or one for each width of its neighbourhoods; nothing for what is no curve of lead time."""
    width = next((dim for dim in WIDTHS if dim in score.dims), None)
    if width is not None:
        for km in score[width].values:
            other = None if difference is None else difference.sel({width: km})
            for curve in _curve(name, score.sel({width: km}), other):
                yield curve | {"key": f"{name}@{km:g}", "label": f"{curve['label']}, {km:g} km"}
        return
    if not set(score.dims) <= {"entry", "seed", "bound", "lead_time", "threshold"} or score.isnull().all():
        return
    yield {
        "key": name,
        "label": wording.name(name),
        "unit": wording.unit(score.attrs.get("units", "")),
        "better": wording.better(name),
        "thresholds": "threshold" in score.dims,
        "values": _by_lead(over_seeds(score), "entry", "bound"),
        "seeds": _by_lead(score.sel(bound="score"), "entry", "seed") if score.sizes["seed"] > 1 else None,
        "differences": None if difference is None else _by_lead(over_seeds(difference), "entry", "bound"),
    }


def reliability(scores: xr.Dataset) -> dict[str, Any] | None:
    """The reliability diagram of entries that have probabilities."""
    if "observed_frequency" not in scores:
        return None
    where = "entry", "lead_time", "threshold", "probability"
    middle = {
        name: plain(over_seeds(scores[name]).sel(bound="score").transpose(*where).values)
        for name in ("mean_probability", "probability_count")
    }
    frequency = over_seeds(scores.observed_frequency).transpose("entry", "bound", *where[1:])
    return middle | {"observed_frequency": plain(frequency.values), "entries": _having(scores.observed_frequency)}


def spectra(scores: xr.Dataset) -> dict[str, Any] | None:
    """Power of forecasts and of what was observed, at wavelengths that are even on a logarithmic axis."""
    if "spectrum_forecast" not in scores:
        return None
    count = scores.sizes["wavelength"]
    chosen = np.unique(np.geomspace(1, count, MOST_WAVELENGTHS).round().astype(int)) - 1
    power = scores[["spectrum_forecast", "spectrum_observed"]].sel(bound="score").isel(wavelength=chosen)
    power = power.mean("seed").transpose("entry", "lead_time", "wavelength")
    return {
        "wavelengths": plain(power.wavelength.values),
        "forecast": plain(power.spectrum_forecast.values),
        "observed": plain(power.spectrum_observed.max("entry").values),  # the same of all that have one
    }


def ranks(scores: xr.Dataset) -> dict[str, Any] | None:
    """Rank histograms of entries that have members."""
    if "rank_histogram" not in scores:
        return None
    histogram = over_seeds(scores.rank_histogram).sel(bound="score").transpose("entry", "lead_time", "rank")
    return {"shares": plain(histogram.values), "entries": _having(scores.rank_histogram)}


def over_seeds(score: xr.DataArray) -> xr.DataArray:
    """The mean over the seeds that an entry has."""
    return score.mean("seed", skipna=True)


def plain(values: np.ndarray) -> Plain:
    """Nested lists of numbers for JSON."""
    if values.ndim:
        return [plain(part) for part in values]
    return float(f"{values:.{DIGITS}g}") if np.isfinite(values) else None


def _by_lead(score: xr.DataArray, *first: str) -> Plain:
    rest = [dim for dim in ("lead_time", "threshold") if dim in score.dims]
    return plain(score.transpose(*first, *rest).values)


def _having(score: xr.DataArray) -> list[int]:
    """Numbers of the entries that have any."""
    return np.flatnonzero(score.notnull().any([dim for dim in score.dims if dim != "entry"])).tolist()
