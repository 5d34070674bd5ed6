"""One entry of a benchmark, once: train what has to be trained, forecast all cases, score them, keep the sums.

Its folder, entries/NAME/seed-N, holds log.txt and, when it is done, scores.npz and done.json; networks have their run
folder in trainings/NAME/seed-N, which products of one training share.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nowcast import baselines
from nowcast.benchmarking.cases import DATA, Cases, different
from nowcast.benchmarking.plan import Entry, Plan
from nowcast.benchmarking.scoring import score
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import pack
from nowcast.exported import load
from nowcast.trained import Trained

DONE, SUMS, SHOWN, LOG, ERROR = "done.json", "scores.npz", "showcase.npz", "log.txt", "error.txt"


def folder_of(plan: Plan, entry: Entry, seed: int) -> Path:
    """Where an entry's results of one seed are."""
    return Path(plan.folder) / "entries" / entry.key / f"seed-{seed}"


def training_of(plan: Plan, entry: Entry, seed: int) -> Path:
    """Where an entry's training of one seed is."""
    return Path(plan.folder) / "trainings" / entry.training / f"seed-{seed}"


def finished(folder: Path, protocol: dict[str, Any]) -> dict[str, Any] | None:
    """What a finished entry says of itself, or None if it has to be scored (again) under this protocol."""
    try:
        done: dict[str, Any] = json.loads((folder / DONE).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    same = not different(done["protocol"], protocol)
    return done if same and (folder / SUMS).exists() else None


def train_command(plan: Plan, entry: Entry, seed: int, run: Path) -> list[str]:
    """The command that trains an entry into a run folder."""
    return [
        sys.executable,
        "-m",
        "nowcast.train",
        *("--config", str(Path(plan.folder) / DATA)),
        *("--config", entry.source),
        *entry.options,
        f"--seed_everything={seed}",
        "--test=false",
        *("--run", str(run)),
    ]


def train(plan: Plan, entry: Entry, seed: int) -> Path:
    """The run folder of an entry's training, which is made unless it is there already.

    Raises:
        InputError: with the last line of the log when the training fails.
    """
    run = training_of(plan, entry, seed)
    command = train_command(plan, entry, seed, run)
    stamp = run / DONE
    source = Path(entry.source).read_text()
    data = (Path(plan.folder) / DATA).read_text()
    wanted = {"command": shlex.join(["python", *command[1:]]), "config": source, "data": data}
    if stamp.exists():
        done = json.loads(stamp.read_text())
        if {key: done[key] for key in wanted} == wanted:
            return run
    shutil.rmtree(run, ignore_errors=True)
    part = run.with_name(f"{run.name}.{os.getpid()}")  # so that a run that was killed is never taken for whole
    for stale in run.parent.glob(f"{run.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    began = time.perf_counter()
    run.parent.mkdir(parents=True, exist_ok=True)
    # W&B, where a config logs to it, shows the trainings of a benchmark as one group.
    names = {"WANDB_RUN_GROUP": Path(plan.folder).name, "WANDB_NAME": f"{entry.training}, seed {seed}"}
    subprocess.run(
        train_command(plan, entry, seed, part),
        env=names | os.environ,
        check=True,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    seconds = time.perf_counter() - began
    (part / DONE).write_text(json.dumps({**wanted, "seconds": seconds, **speed(part)}))
    os.replace(part, run)
    return run


def speed(run: Path) -> dict[str, float | int | None]:
    """Steps of a run and its windows a second, from its curves."""
    curves = pd.read_csv(run / "metrics.csv")
    rates = curves["windows_per_second"].dropna().to_numpy()
    return {
        "train_steps": int(curves["step"].max()) + 1,
        "windows_per_second": float(np.median(rates)),
    }


def run_entry(plan: Plan, entry: Entry, seed: int, cases: Cases, protocol: dict[str, Any]) -> None:
    """Train where needed, score, and leave scores.npz and done.json."""
    folder = folder_of(plan, entry, seed)
    facts: dict[str, Any] = {"entry": entry.as_dict(), "seed": seed, "protocol": protocol}
    forecaster: Forecaster
    if entry.kind == "baseline":
        forecaster = baselines.create_for(entry.source, cases.pixel_km, cases.step_minutes)
        facts |= {"command": f"python -m nowcast.forecast --baseline {entry.source}", "parameters": 0}
    else:
        path = Path(entry.source)
        if entry.kind == "network":
            path = train(plan, entry, seed)
            trained = json.loads((path / DONE).read_text())
            facts |= {"train_seconds": trained.pop("seconds"), **trained}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        forecaster = load(path, device, entry.product)
        for archive in cases.archives:
            forecaster.check(archive)
        facts |= describe(forecaster, path, cases)
    judgement, cost = score(forecaster, plan, cases, lambda done, total: print(f"scored {done}/{total}", flush=True))
    judgement.save(folder / SUMS)
    show(forecaster, cases, plan.showcase, folder / SHOWN)
    facts |= {"distribution": judgement.distribution, **cost}
    part = folder / f".{DONE}"
    part.write_text(json.dumps(facts, default=str))
    os.replace(part, folder / DONE)


def show(forecaster: Forecaster, cases: Cases, number: int, path: Path) -> None:
    """Write the forecasts of the rainiest cases, packed, (T_out, H, W) each."""
    shown = [cases[place] for place in cases.rainiest(number)]
    forecasts = [forecaster.forecast(case.past, case.observed.shape[1]) for case in shown]
    np.savez_compressed(path, *(pack(forecast[0, :, 0].float().numpy()) for forecast in forecasts))


def describe(forecaster: Trained, path: Path, cases: Cases) -> dict[str, Any]:
    """What is known of a trained network: size and config."""
    if forecaster.step_s != cases.step_minutes * 60 or forecaster.steps < len(cases.lead_times):
        raise InputError(
            f"{path} forecasts {forecaster.steps} steps of {forecaster.step_s / 60:g} min, the benchmark wants "
            f"{len(cases.lead_times)} of {cases.step_minutes:g} min"
        )
    config = path / "config.yaml" if path.is_dir() else path.parent / "config.yaml"
    return {
        "parameters": forecaster.parameters,
        "checkpoint_sha256": forecaster.digest,
        "config": config.read_text() if config.exists() else json.dumps(forecaster.config, indent=1),
    }
