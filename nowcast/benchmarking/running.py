"""All entries of a benchmark, each in its own process; what is finished is not run again, what fails stops no other."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nowcast.benchmarking.cases import Cases
from nowcast.benchmarking.entry import DONE, ERROR, LOG, finished, folder_of, run_entry
from nowcast.benchmarking.plan import Entry, Plan
from nowcast.contracts import InputError

MISTAKE = 2  # exit code of programs for what the user can mend


def run_benchmark(
    plan: Plan,
    entries: Sequence[Entry],
    protocol: dict[str, Any],
    jobs: int = 1,
    report: Callable[[Entry, int, str], None] = lambda entry, seed, state: None,
) -> None:
    """Run what is not finished yet.

    Args:
        plan: with the folder of results, which has a data.yaml for the trainings.
        entries: of the plan.
        protocol: of the cases (`Cases.protocol`), stamped on every score.
        jobs: entries that run at the same time; they share the processors.
        report: called with entry, seed and "running", "done", "failed" or "finished before".
    """
    if jobs < 1:
        raise InputError(f"--jobs is how many entries run at once, 1 or more, not {jobs}")
    threads = max((os.cpu_count() or 1) // jobs, 1)

    def work(training: str) -> None:
        # Products of one training follow each other, so that it is made once.
        for entry in (entry for entry in entries if (entry.training or entry.key) == training):
            for seed in entry.seeds:
                if finished(folder_of(plan, entry, seed), protocol):
                    report(entry, seed, "finished before")
                    continue
                report(entry, seed, "running")
                report(entry, seed, "done" if _in_process(plan, entry, seed, protocol, threads) else "failed")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, dict.fromkeys(entry.training or entry.key for entry in entries)))


def _in_process(plan: Plan, entry: Entry, seed: int, protocol: dict[str, Any], threads: int) -> bool:
    folder = folder_of(plan, entry, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DONE, ERROR):
        (folder / name).unlink(missing_ok=True)
    (folder / LOG).write_text("")
    process = multiprocessing.get_context("spawn").Process(target=_guarded, args=(plan, entry, seed, protocol, threads))
    process.start()
    process.join()
    if finished(folder, protocol):
        return True
    if not (folder / ERROR).exists():
        last = (folder / LOG).read_text().strip().splitlines()[-1:] or ["no output"]
        (folder / ERROR).write_text(f"its process ended with code {process.exitcode}; last line: {last[0]}")
    return False


def _guarded(plan: Plan, entry: Entry, seed: int, protocol: dict[str, Any], threads: int) -> None:
    """In its own process: output goes to the log, and what fails is written down."""
    folder = folder_of(plan, entry, seed)
    log = (folder / LOG).open("a", buffering=1)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the training, which is a process of its own
    import torch

    torch.set_num_threads(threads)
    try:
        run_entry(plan, entry, seed, Cases.open(plan), protocol)
    except Exception as error:
        traceback.print_exc()
        (folder / ERROR).write_text(gist(error, folder / LOG))
        sys.exit(1)


def gist(error: Exception, log: Path) -> str:
    """One line that says what went wrong: of a training what its program said, or the exception that ended it."""
    if not isinstance(error, subprocess.CalledProcessError):
        return f"{type(error).__name__}: {error}"
    lines = log.read_text(errors="replace").splitlines()
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    if error.returncode == MISTAKE and said:
        return said[-1]
    return next((line for line in reversed(raised) if "CalledProcessError" not in line), str(error))


def states(plan: Plan, entries: Sequence[Entry], protocol: dict[str, Any]) -> list[dict[str, Any]]:
    """For every entry and seed what done.json says, or `error`."""
    found = []
    for entry in entries:
        for seed in entry.seeds:
            folder = folder_of(plan, entry, seed)
            done = finished(folder, protocol)
            error = None if done else _error(folder)
            found.append(done or {"entry": json.loads(json.dumps(entry.as_dict())), "seed": seed, "error": error})
    return found


def _error(folder: Path) -> str:
    return (folder / ERROR).read_text() if (folder / ERROR).exists() else "not run yet"
