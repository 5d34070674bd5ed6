"""What every entry of a benchmark forecasts, and the protocol that says so on every score."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from jsonargparse import ArgumentParser

import nowcast
from nowcast.benchmarking.plan import Plan
from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData

DATA = "data.yaml"  # in the folder of a benchmark: the data section of its trainings and cases
SAME_GRID_LENGTH = 0.01  # by which share grid lengths of test events may differ


class Case(NamedTuple):
    """One forecast and what was observed."""

    event: str
    start: np.datetime64
    past: torch.Tensor  # (1, T_in, 1, H, W) mm/h
    observed: torch.Tensor  # (1, T_out, 1, H, W) mm/h


@dataclass(frozen=True)
class Place:
    """Where a case is found: number of the test event and of its window."""

    event: int
    window: int


class Cases:
    """The test windows of a benchmark's data, every so many of them, whole frames.

    Args:
        data: whose test split is forecast.
        every: how many windows there are from one case to the next.

    Raises:
        InputError: for test events of different grid length.
    """

    def __init__(self, data: RadarData, every: int = 1) -> None:
        if every < 1:
            raise InputError(f"forecasts start at every 1, 2, … possible times, not every {every}")
        data.prepare_data()
        data.setup("test")
        self.data, self.every = data, every
        self.sources, self.archives = data.sources["test"], data.archives["test"]
        lengths = [archive.grid.pixel_m for archive in self.archives]
        if max(lengths) > (1 + SAME_GRID_LENGTH) * min(lengths):
            each = ", ".join(f"{a.name} {m:.0f} m" for a, m in zip(self.archives, lengths, strict=True))
            raise InputError(f"test events of one benchmark have one grid length, not {each}; make a benchmark of each")
        self.pixel_km = lengths[0] / 1000
        self.step_minutes = data.window.step_minutes
        self.lead_times = tuple(float(minutes) for minutes in data.window.lead_times)
        self.places = [
            Place(event, window)
            for event, source in enumerate(self.sources)
            for window in range(0, len(source.windows), every)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Case]:
        return (self[place] for place in self.places)

    def __getitem__(self, place: Place) -> Case:
        source, past = self.sources[place.event], self.data.window.past_frames
        frames = source.windows[place.window]
        rate = torch.from_numpy(source.frames.read(frames, 0, 0, *source.frames.shape[1:]))[None, :, None]
        return Case(source.name, source.times[frames[past - 1]], rate[:, :past], rate[:, past:])

    @classmethod
    def open(cls, plan: Plan) -> Self:
        """The cases of a plan, whose folder has a data.yaml."""
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(RadarData, "data")
        data = parser.instantiate(parser.parse_path(Path(plan.folder) / DATA)).data
        return cls(data, plan.every)

    @property
    def square(self) -> int:
        """Pixels a side of the largest square that is in the middle of every event's grid."""
        return min(min(source.frames.shape[1:]) for source in self.sources)

    def rainiest(self, number: int) -> list[Place]:
        """Cases with the most rain at their start, in different events as far as there are several, in order."""

        def rain(place: Place) -> float:
            source = self.sources[place.event]
            return float(source.frames.rain[source.windows[place.window][self.data.window.past_frames - 1]].mean())

        by_event = [
            sorted((place for place in self.places if place.event == event), key=rain, reverse=True)
            for event in range(len(self.sources))
        ]
        turns = [places[turn] for turn in range(len(self.places)) for places in by_event if turn < len(places)]
        return sorted(turns[:number], key=lambda place: (place.event, place.window))

    def protocol(self, plan: Plan) -> dict[str, Any]:
        """What must be the same before two scores may stand in one table: plain data."""
        blocks = {
            split: [vars(block) if not isinstance(block, str) else block for block in given]
            for split, given in self.data.blocks.items()
        }
        digest, observed, pixels = hashlib.sha256(), 0, 0
        for case in self:
            rates = np.concatenate([case.past.numpy(), case.observed.numpy()], axis=1)
            digest.update(f"{case.event} {case.start}".encode() + rates.tobytes())
            observed += int((~torch.isnan(case.observed)).sum())
            pixels += case.observed.numel()
        starts = [str(case_start) for case_start in self.starts]
        return {
            "split": blocks,
            "crop": "whole frames",
            "grids": [list(source.frames.shape[1:]) for source in self.sources],
            "grid_length_km": self.pixel_km,
            "step_minutes": self.step_minutes,
            "past_frames": self.data.window.past_frames,
            "lead_times": list(self.lead_times),
            "cases": len(self),
            "init_times": starts,
            "thresholds": list(plan.thresholds),
            "neighbourhoods_km": list(plan.neighbourhoods_km),
            "scales_km": list(plan.scales_km),
            "members": plan.members,
            "pixels": "observed; a missing forecast counts as dry",
            "pixels_counted": observed,
            "missing_share": round(1 - observed / max(pixels, 1), 6),
            "block_minutes": plan.block_minutes,
            "data_fingerprint": digest.hexdigest()[:16],
            "version": nowcast.__version__,
            "commit": commit(),
        }

    @property
    def starts(self) -> Sequence[np.datetime64]:
        """Forecast reference times of all cases."""
        last = self.data.window.past_frames - 1
        return [
            self.sources[place.event].times[self.sources[place.event].windows[place.window][last]]
            for place in self.places
        ]


def commit() -> str | None:
    """The git commit of the code that runs, with a hash of what differs from it; None outside a repository."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout

    try:
        differs = git("diff", "HEAD", "--", ".") + git("status", "--porcelain", "--", ".")
        changes = f"+{hashlib.sha256(differs.encode()).hexdigest()[:8]}" if differs else ""
        return git("rev-parse", "--short=12", "HEAD").strip() + changes
    except (OSError, subprocess.CalledProcessError):
        return None


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs between two protocols."""
    plain = [json.loads(json.dumps(protocol)) for protocol in (one, other)]
    return sorted(key for key in {**plain[0], **plain[1]} if plain[0].get(key) != plain[1].get(key))
