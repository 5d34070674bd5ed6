"""Compare forecasting models: `python -m nowcast.benchmark --config configs/benchmark/quick.yaml`.

Trains what has to be trained under one budget, forecasts the same cases with every entry, scores them under one
protocol, and leaves leaderboard.csv (and .md), scores.nc and report/index.html. Run again, it continues where it
stopped.
"""

import re
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch
import yaml
from rich.console import Console
from rich.table import Table

from nowcast.benchmarking import Cases, Plan, expand, gather, run_benchmark
from nowcast.benchmarking.cases import DATA
from nowcast.benchmarking.plan import Entry
from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData
from nowcast.program import Parser, honest_exit, with_underscores
from nowcast.quiet import calm
from nowcast.report.html import write_report


def parser() -> Parser:
    """Of the command line: the fields of a plan, the data, and how to run it."""
    made = Parser(prog="python -m nowcast.benchmark", description=(__doc__ or "").split("\n\n")[0])
    made.add_argument("--config", action="config", help="benchmark file; later ones and options win")
    made.add_class_arguments(Plan)
    made.add_class_arguments(RadarData, "data")
    made.add_argument("--jobs", type=int, default=1, help="entries that run at the same time")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run a benchmark."""
    calm()
    with honest_exit():
        torch.set_float32_matmul_precision("high")
        parse = parser()
        config = parse.parse_args(with_underscores(sys.argv[1:] if arguments is None else arguments))
        made = parse.instantiate(config)
        plan = Plan(**{field.name: made[field.name] for field in fields(Plan)})
        entries = expand(plan)
        cases = Cases(made.data, plan.every)
        folder = Path(plan.folder)
        settle(folder, parse.dump(config), yaml.safe_dump({"data": yaml.safe_load(parse.dump(config))["data"]}))
        print(f"{len(entries)} entries, {len(cases)} cases; results go to {folder}", flush=True)
        protocol = cases.protocol(plan)
        run_benchmark(plan, entries, protocol, config.jobs, say)
        board = gather(plan, entries, cases, protocol)
        Console(width=None if sys.stdout.isatty() else 140).print(as_table(board))
        for _, row in board[board.status == "failed"].iterrows():
            print(f"failed: {row.entry}, seed {row.seed}: {row.error}")
        page = write_report(folder)
        print(f"results are in {folder}: leaderboard.csv, scores.nc, {page.relative_to(folder)}")
        if (board.status == "failed").all():
            raise InputError("every entry failed; the table says why")


def settle(folder: Path, config: str, data: str) -> None:
    """Write the resolved benchmark and its data into the folder of results.

    Raises:
        InputError: when the folder holds a benchmark of other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / DATA
    if old.exists() and old.read_text() != data:
        raise InputError(f"{folder} holds a benchmark of other data; give another --folder or remove it")
    old.write_text(data)
    (folder / "benchmark.yaml").write_text(config)


def say(entry: Entry, seed: int, state: str) -> None:
    """A line about an entry."""
    training = f", seed {seed}" if entry.kind == "network" else ""
    print(f"{entry.name}{training}: {state}", flush=True)


def as_table(board: pd.DataFrame) -> Table:
    """The leaderboard in the terminal: what one looks at first."""
    wanted = [name for name in board.columns if re.match(r"mae_|csi_(0.1|1|5)_|frequency_bias_1_", name)]
    table = Table(title="leaderboard, best CSI at the last lead time first")
    for name in ("entry", "seed", "parameters", *wanted):
        words = name.replace("frequency_bias", "bias").split("_")
        table.add_column(" ".join(words), justify="left" if name == "entry" else "right")
    for _, row in board[board.status == "done"].iterrows():
        table.add_row(row.entry, str(row.seed), f"{row.parameters:,.0f}", *(f"{row[name]:.3f}" for name in wanted))
    return table


if __name__ == "__main__":
    main()
