"""All scores of one entry: at each lead time, of hourly accumulations, and of its distribution where it has one."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from nowcast.benchmarking.cases import Case, Cases
from nowcast.benchmarking.plan import Plan
from nowcast.contracts import Forecaster, InputError
from nowcast.models._output import MemberOutput, output_of
from nowcast.trained import Trained
from nowcast.verification import (
    Blocks,
    Contingency,
    Continuous,
    Crps,
    EventProbabilities,
    FractionsSkill,
    Members,
    PooledContingency,
    Quantiles,
    RankHistogram,
    Scores,
    Spectrum,
    SpreadSkill,
    StructuralSimilarity,
    event_probabilities,
)

HOUR = 60  # minutes
SMALLEST_IMAGE = 11  # pixels a side that structural similarity needs


class MiddleSpectrum(Spectrum):
    """The spectrum of the square in the middle of fields, which may be of any size."""

    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum the spectra of the middle of (B, T_out, C, H, W) fields in mm/h."""
        top, left = ((length - side) // 2 for length, side in zip(observed.shape[-2:], self.shape, strict=True))
        square = (..., slice(top, top + self.shape[0]), slice(left, left + self.shape[1]))
        super().update(forecast[square], observed[square])


class Judgement:
    """Everything a benchmark wants to know of a forecaster, by block of cases.

    Args:
        plan: thresholds, scales and members.
        cases: lead times and grids.
        distribution: what its ensembles are: "members", "quantiles", or None where it has neither.
    """

    def __init__(self, plan: Plan, cases: Cases, distribution: str | None) -> None:
        self.plan, self.cases, self.distribution = plan, cases, distribution
        leads, steps_an_hour = cases.lead_times, HOUR / cases.step_minutes
        self.parts: dict[str, Blocks] = {"rates": Blocks(self._rates)}
        hours = int(len(leads) // steps_an_hour)
        self.steps_an_hour = round(steps_an_hour)
        if hours and steps_an_hour == self.steps_an_hour:
            self.parts["accumulation"] = Blocks(lambda: self._accumulations([HOUR * (n + 1) for n in range(hours)]))
        if distribution:
            self.parts["crps"] = Blocks(self._crps)
            self.parts["ensemble"] = Blocks(self._ensemble)
            self.parts["probability"] = Blocks(lambda: Scores([EventProbabilities(leads, plan.thresholds)]))

    def _rates(self) -> Scores:
        plan, leads, km = self.plan, self.cases.lead_times, self.cases.pixel_km
        side = self.cases.square
        scores: list[Any] = [
            Continuous(leads),
            Contingency(leads, plan.thresholds),
            PooledContingency(leads, plan.thresholds, km, plan.neighbourhoods_km),
            FractionsSkill(leads, plan.thresholds, km, plan.scales_km),
            MiddleSpectrum(leads, (side, side), km),
        ]
        return Scores([*scores, StructuralSimilarity(leads)] if side >= SMALLEST_IMAGE else scores)

    def _accumulations(self, hours: list[int]) -> Scores:
        return Scores([Continuous(hours), Contingency(hours, self.plan.thresholds)])

    def _crps(self) -> Scores:
        levels = tuple((k + 0.5) / self.plan.members for k in range(self.plan.members))
        of = Quantiles(levels) if self.distribution == "quantiles" else Members()
        return Scores([Crps(self.cases.lead_times, of)])

    def _ensemble(self) -> Scores:
        leads, members = self.cases.lead_times, self.plan.members
        return Scores([RankHistogram(leads, members), SpreadSkill(leads, members)])

    def update(self, forecaster: Forecaster, case: Case) -> float:
        """Forecast one case and score it; the seconds that its one forecast took."""
        steps, label = case.observed.shape[1], [block(case, self.plan.block_minutes)]
        began = time.perf_counter()
        forecast = forecaster.forecast(case.past, steps)
        seconds = time.perf_counter() - began
        self.parts["rates"].update(forecast, case.observed, label)
        if "accumulation" in self.parts:
            self.parts["accumulation"].update(self.accumulated(forecast), self.accumulated(case.observed), label)
        if self.distribution:
            self._update_distribution(forecaster, case, label)
        return seconds

    def _update_distribution(self, forecaster: Forecaster, case: Case, label: list[str]) -> None:
        steps, plan = case.observed.shape[1], self.plan
        members = forecaster.ensemble(case.past, steps, plan.members)
        self.parts["ensemble"].update(members, case.observed, label)
        fields = members.movedim(1, 2) if self.distribution == "quantiles" else members
        self.parts["crps"].update(fields, case.observed, label)
        if self.distribution == "quantiles":
            chance = forecaster.probability(case.past, steps, plan.thresholds)
        else:
            chance = event_probabilities(members, plan.thresholds)
        self.parts["probability"].update(chance, case.observed, label)

    def accumulated(self, rate: torch.Tensor) -> torch.Tensor:
        """(B, T, C, H, W) mm/h → (B, hours, C, H, W) mm; NaN where one of an hour's frames is missing."""
        hours = rate.shape[1] // self.steps_an_hour
        whole = rearrange(rate[:, : hours * self.steps_an_hour], "b (n k) c h w -> b n k c h w", n=hours)
        return whole.mean(dim=2)  # mm/h over one hour

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """All sums, by names that `load` understands."""
        return {
            json.dumps([part, label, name]): array
            for part, blocks in self.parts.items()
            for label, score in blocks.scores.items()
            for name, array in score.sums.items()
        }

    def save(self, path: Path) -> None:
        """Write all sums, whole or not at all."""
        part = path.with_name(f".{path.name}.{os.getpid()}")
        with part.open("wb") as file:
            np.savez_compressed(file, **self.sums)  # type: ignore[arg-type]
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Add the sums that `save` has written. Raises InputError when they are of other scores."""
        with np.load(path) as file:
            stored = {tuple(json.loads(key)): file[key] for key in file.files}
        for part, label, name in stored:
            if part not in self.parts or name not in self.parts[part].block(label).sums:
                raise InputError(f"{path} holds other scores ({part} {name}) than this benchmark wants")
            mine = self.parts[part].block(label)
            mine.sums[name][...] += stored[part, label, name]
        for part, blocks in self.parts.items():
            for label, score in blocks.scores.items():
                blocks.cases[label][...] = score.cases
            if not blocks.scores:
                raise InputError(f"{path} holds no scores of {part}")


def block(case: Case, minutes: float) -> str:
    """The block a case is resampled with: its event, and which stretch of time it starts in."""
    seconds = int(case.start.astype("datetime64[s]").astype(np.int64))
    return f"{case.event} {int(seconds // (60 * minutes))}"


def distribution_of(forecaster: Forecaster) -> str | None:
    """What ensembles of a forecaster are: "members" drawn at random, "quantiles", or None where it has none."""
    if isinstance(forecaster, Trained):
        output = output_of(forecaster.network)
        if output is None:
            return None
        return "members" if isinstance(output, MemberOutput) else "quantiles"
    return "members" if type(forecaster).ensemble is not Forecaster.ensemble else None


def score(
    forecaster: Forecaster, plan: Plan, cases: Cases, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Judgement, Mapping[str, float]]:
    """All scores of a forecaster over all cases, and what one of its forecasts costs.

    Raises:
        InputError: when it needs more past frames than the benchmark's windows have.
    """
    if forecaster.past_frames > cases.data.window.past_frames:
        raise InputError(
            f"{forecaster.name} needs {forecaster.past_frames} past frames, the benchmark's windows have "
            f"{cases.data.window.past_frames}; set data.window.past_frames"
        )
    judgement = Judgement(plan, cases, distribution_of(forecaster))
    seconds = []
    for number, case in enumerate(cases):
        seconds.append(judgement.update(forecaster, case))
        progress(number + 1, len(cases))
    return judgement, {"latency_s": float(np.median(seconds))}
