"""What must not be read out of a benchmark's numbers, said beside them."""

from collections.abc import Iterator, Sequence

import numpy as np

from nowcast.report.html.figures import over_seeds
from nowcast.report.html.folder import Benchmark, Entry

# Methods that do smooth or sample what cannot be foreseen, as networks trained on squared errors do.
FAIR_RIVALS = ("sprog", "s-prog", "anvil", "linda", "steps")
MISSING = 0.001  # share of pixels without a forecast that is worth a word
UNEVEN = 1.2  # ratio of trainings that had not the same budget


def caveats(benchmark: Benchmark) -> list[str]:
    """Sentences, those that always hold last."""
    return [*_of_scores(benchmark), *_of_entries(benchmark.entries), *_always(benchmark)]


def _of_entries(entries: Sequence[Entry]) -> Iterator[str]:
    failed = [entry.name for entry in entries if entry.failed]
    if failed:
        yield f"{len(failed)} of {len(entries)} entries failed and are not ranked: {_listed(failed)}."
    trained = [entry for entry in entries if entry.kind == "network" and not entry.failed]
    for what, values in {
        "optimiser steps": [entry.train_steps for entry in trained if entry.train_steps],
        "seconds of training": [entry.train_seconds for entry in trained if entry.train_seconds],
    }.items():
        if values and max(values) > UNEVEN * min(values):
            yield (
                f"Networks had between {min(values):,.0f} and {max(values):,.0f} {what}: "
                "where the budget is the other quantity, this one is part of the result."
            )
    seeds = {len(entry.seeds) for entry in trained}
    if len(seeds) > 1:
        yield f"Networks have between {min(seeds)} and {max(seeds)} seeds, so their means are not equally sure."
    elif seeds == {1}:
        yield (
            "Every network was trained once. Intervals hold the chance of the cases, not that of the training: "
            "another seed may change the order of neighbours."
        )
    if any(entry.kind == "checkpoint" for entry in entries):
        yield "Checkpoints were trained before, on a budget and perhaps on data that this benchmark did not choose."
    names = [entry.name.lower() for entry in entries if not entry.failed]
    if trained and not any(rival in name for name in names for rival in FAIR_RIVALS):
        yield (
            "No S-PROG, ANVIL, LINDA or STEPS is among the entries. Against plain extrapolation alone, a network wins "
            "errors such as MAE by blurring; look at the spectra and at frequency bias before believing it."
        )
    products = sorted({entry.product for entry in entries if entry.product and not entry.failed})
    if len(products) > 1:
        yield f"Different fields were scored ({', '.join(products)}): a mean wins RMSE, a median MAE, neither is sharp."


def _of_scores(benchmark: Benchmark) -> Iterator[str]:
    scores = benchmark.scores
    if scores is None:
        yield "Every entry failed; there are no scores."
        return
    if "mae" in scores and scores.mae.sel(bound="lower").isnull().all():
        yield "All cases are in one block, so there are no intervals: differences may be chance."
    if "missing_share" in scores:
        share = over_seeds(scores.missing_share).sel(bound="score").max("lead_time")
        lacking = {str(name): float(share.sel(entry=name)) for name in scores.entry.values}
        lacking = {name: most for name, most in lacking.items() if most > MISSING}
        if lacking:
            most = 100 * max(lacking.values())
            yield (
                f"Forecasts of {_listed(list(lacking))} do not cover all observed pixels (up to {most:.1f} % are "
                "missing); missing ones count as dry."
            )
    if "observed_events" in scores:
        events = scores.observed_events.sel(bound="score").max(["entry", "seed"]).min("lead_time")
        rare = [f"{float(t):g}" for t in events.threshold.values[np.asarray(events < 1000)]]
        if rare:
            yield f"Rain of {' and '.join(rare)} mm/h was seen in fewer than 1000 pixels at some lead time: too few."


def _always(benchmark: Benchmark) -> Iterator[str]:
    fingerprint = benchmark.protocol.get("data_fingerprint", "not recorded")
    yield (
        "The numbers of this page compare with each other and with nothing else: they hold for one protocol "
        f"(below; data fingerprint {fingerprint}). Another split, crop, time step, threshold or rule for missing "
        "pixels changes a score by more than most models differ, so published tables cannot be set beside them."
    )
    yield (
        "Latency and step time hold for the machine and the load of this run; parameters count weights, not work. "
        "Scores at different lead times or thresholds, and of areas with other rain, are no scale of difficulty."
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
