"""Benchmarks: entries that are trained under one budget and scored on the same cases, pixels and thresholds.

A `Plan` names data, entries and budget, and `expand` makes single entries of it. `Cases` are what all of them forecast,
with the protocol that is stamped on every score. `run_entry` trains and scores one entry in its own process,
`run_benchmark` all of them, and `gather` makes tables and datasets of what they left.
"""

from nowcast.benchmarking.cases import Cases
from nowcast.benchmarking.gathering import gather
from nowcast.benchmarking.plan import Budget, Plan, expand
from nowcast.benchmarking.running import run_benchmark

__all__ = ["Budget", "Cases", "Plan", "expand", "gather", "run_benchmark"]
