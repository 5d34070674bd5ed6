"""A small folder of a benchmark, with scores of the real code and names that would break a careless page."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from einops import rearrange

from nowcast.verification import (
    Blocks,
    Crps,
    EventProbabilities,
    FractionsSkill,
    Members,
    PooledContingency,
    RankHistogram,
    Scores,
    Spectrum,
    SpreadSkill,
    difference,
    event_probabilities,
    interval,
    standard_scores,
)

NETWORK = '<script>document.title = "caught"</script>'
BASELINE = 'Persistence\'s "twin" & co </script>'
FAILED = '"><img src=x onerror=alert(1)>'
ERROR = "RuntimeError: </script><b>out of</b> memory"
COMMAND = "python -m nowcast.train --name \"<script>\" && echo '</script>'"
CONFIG = "network: </script><script>document.title = 'caught'</script>\n# {{ 7 * 7 }} ${alert}\n"
LEADS, PAST, THRESHOLDS = [5.0, 10.0, 15.0], 2, [0.1, 1.0, 5.0]
CASES, HEIGHT, WIDTH, MEMBERS, RESAMPLES = 6, 24, 32, 4, 20
SCORES = ["mae_15", "csi_1_15", "frequency_bias_1_15"]
BLOCKS = ["first", "first", "second", "second", "third", "third"]


def write_folder(folder: Path, rain: np.ndarray, extra: Sequence[str] = ()) -> Path:
    """A benchmark of a network with two seeds and members, a baseline, one that failed, and more networks.

    Args:
        folder: to write.
        rain: (frame, y, x) mm/h with NaN, CASES × (PAST + lead times) frames at least.
        extra: names of more networks.
    """
    cases = torch.from_numpy(rain[: CASES * (PAST + len(LEADS)), :HEIGHT, :WIDTH].copy())
    cases = rearrange(cases, "(b t) h w -> b t 1 h w", b=CASES)
    past, observed = cases[:, :PAST], cases[:, PAST:]
    forecasts = {NETWORK: [_worse(observed, seed) for seed in (1, 2)], BASELINE: [past[:, -1:].expand_as(observed)]}
    forecasts |= {name: [_worse(observed, 10 + number)] for number, name in enumerate(extra)}
    blocks = {name: [_blocks(one, observed) for one in seeds] for name, seeds in forecasts.items()}
    members = [torch.stack([_worse(observed, seed * 20 + m) for m in range(MEMBERS)], dim=1) for seed in (1, 2)]
    tables = {name: [interval(one, resamples=RESAMPLES) for one in seeds] for name, seeds in blocks.items()}
    for seed, drawn in enumerate(members):
        tables[NETWORK][seed] = xr.merge([tables[NETWORK][seed], *_of_members(drawn, observed)], compat="override")
    differences = {
        name: [difference(one, blocks[BASELINE][0], resamples=RESAMPLES) for one in seeds]
        for name, seeds in blocks.items()
        if name != BASELINE
    }
    sums = {name: [_of_sums(one, observed) for one in seeds] for name, seeds in forecasts.items()}
    protocol = {
        "split": {"train": ["a.nc"], "test": ["<b>.nc"]}, "crop": "whole frames", "step_minutes": 5.0,
        "lead_times": LEADS, "thresholds": THRESHOLDS, "cases": CASES, "init_times": ["2020-06-01T12:10"] * 13,
        "block_minutes": 60.0, "missing_share": 0.05, "data_fingerprint": "0123456789abcdef", "version": "0.1.0",
        "commit": None,
    }  # fmt: skip
    (folder / "showcase").mkdir(parents=True)
    stack(tables).assign_attrs(protocol=json.dumps(protocol)).to_netcdf(folder / "scores.nc")
    stack(differences).assign_attrs(reference=BASELINE).to_netcdf(folder / "differences.nc")
    stack(sums).to_netcdf(folder / "accumulation.nc")
    (folder / "protocol.json").write_text(json.dumps(protocol))
    (folder / "benchmark.yaml").write_text(f"folder: {folder.name}\nentries: '{NETWORK}'\n")
    (folder / "entries.json").write_text(json.dumps([_entry(name, len(forecasts.get(name, []))) for name in
                                                     (*forecasts, FAILED)]))  # fmt: skip
    _leaderboard(folder / "leaderboard.csv", tables)
    _showcase(folder / "showcase" / "case-1.nc", past, observed, {name: seeds[0] for name, seeds in forecasts.items()})
    return folder


def stack(tables: Mapping[str, Sequence[xr.Dataset]]) -> xr.Dataset:
    """Tables of seeds by entry as one, by entry and seed."""
    entries = [
        xr.concat(seeds, dim=xr.DataArray(range(1, len(seeds) + 1), dims="seed", name="seed"))
        for seeds in tables.values()
    ]
    names = xr.DataArray(list(tables), dims="entry", name="entry")
    return xr.concat(entries, dim=names, data_vars="all", join="outer", combine_attrs="drop_conflicts")


def _worse(observed: torch.Tensor, seed: int) -> torch.Tensor:
    """The truth, moved and multiplied at random, the more the later."""
    random = np.random.default_rng(seed)
    steps = [
        torch.roll(observed[:, k], (int(random.integers(0, k + 2)), k), dims=(-2, -1)) * random.lognormal(sigma=0.2)
        for k in range(observed.shape[1])
    ]
    return torch.stack(steps, dim=1)


def _blocks(forecast: torch.Tensor, observed: torch.Tensor) -> Blocks:
    def make() -> Scores:
        own = [PooledContingency(LEADS, THRESHOLDS), FractionsSkill(LEADS, THRESHOLDS, scales=[1, 5])]
        return Scores([*standard_scores(LEADS, THRESHOLDS).scores, *own, Spectrum(LEADS, (HEIGHT, WIDTH))])

    blocks = Blocks(make)
    blocks.update(forecast, observed, BLOCKS)
    return blocks


def _of_sums(forecast: torch.Tensor, observed: torch.Tensor) -> xr.Dataset:
    blocks = Blocks(lambda: standard_scores([60.0], THRESHOLDS))
    blocks.update(forecast.mean(dim=1, keepdim=True), observed.mean(dim=1, keepdim=True), BLOCKS)
    return interval(blocks, resamples=RESAMPLES)


def _of_members(members: torch.Tensor, observed: torch.Tensor) -> list[xr.Dataset]:
    def make() -> Scores:
        return Scores([Crps(LEADS, Members()), RankHistogram(LEADS, MEMBERS), SpreadSkill(LEADS, MEMBERS)])

    ensemble = Blocks(make)
    ensemble.update(members, observed, BLOCKS)
    chances = Blocks(lambda: Scores([EventProbabilities(LEADS, THRESHOLDS, bins=5)]))
    chances.update(event_probabilities(members, THRESHOLDS), observed, BLOCKS)
    return [interval(blocks, resamples=RESAMPLES).drop_vars("cases") for blocks in (ensemble, chances)]


def _entry(name: str, seeds: int) -> dict[str, object]:
    own: dict[str, object] = {"kind": "network", "parameters": 1000 + 137 * len(name), "config": CONFIG}
    own |= {"step_ms": 20.5, "train_steps": 100, "group": "se_resunet", "product": "median"}
    if name == BASELINE:
        own = {"kind": "baseline", "parameters": 0}
    failed = {"status": "failed", "error": f"Traceback …\n{ERROR}"} if name == FAILED else {"status": "done"}
    common = {"name": name, "seeds": list(range(1, seeds + 1)), "latency_s": 0.01 * len(name), "command": COMMAND}
    return common | own | failed


def _leaderboard(path: Path, tables: Mapping[str, Sequence[xr.Dataset]]) -> None:
    columns = ["entry", "seed", "status", "parameters", "latency_s", *SCORES, "error"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerow({"entry": FAILED, "seed": 1, "status": "failed", "error": ERROR})
        for name, seeds in tables.items():
            for seed, table in enumerate(seeds):
                at = table.sel(lead_time=15, threshold=1, bound="score")
                values = {"mae_15": at.mae, "csi_1_15": at.csi, "frequency_bias_1_15": at.frequency_bias}
                cost = {key: _entry(name, 1)[key] for key in ("parameters", "latency_s")}
                row = {"entry": name, "seed": seed + 1, "status": "done"} | cost
                writer.writerow(row | {key: f"{float(value):.6g}" for key, value in values.items()})


def _showcase(path: Path, past: torch.Tensor, observed: torch.Tensor, forecasts: Mapping[str, torch.Tensor]) -> None:
    case = 2
    xr.Dataset(
        {
            "rain_rate": (
                ("entry", "lead_time", "y", "x"),
                np.stack([forecast[case, :, 0].numpy() for forecast in forecasts.values()]),
            ),
            "observed": (("lead_time", "y", "x"), observed[case, :, 0].numpy()),
            "past": (("past_time", "y", "x"), past[case, :, 0].numpy()),
        },
        {
            "entry": list(forecasts), "lead_time": LEADS,
            "y": -np.arange(HEIGHT, dtype=float), "x": np.arange(WIDTH, dtype=float),
        },
        {"init_time": "2020-06-01T23:55:00", "event": "</script>storm"},
    ).to_netcdf(path)  # fmt: skip
