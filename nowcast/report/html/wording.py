"""What scores are called on the page, in which units they are, and which way is better."""

import re
from dataclasses import dataclass
from typing import Literal

# "one" and "zero": the nearer, the better; a frequency bias of 2 is as far from 1 as one of ½.
Better = Literal["high", "low", "one", "zero", "none"]

BETTER: dict[str, Better] = {
    **dict.fromkeys(("csi", "pod", "hss", "ets", "fss", "ssim", "correlation"), "high"),
    **dict.fromkeys(("brier_skill", "resolution", "roc_area", "windows_per_second"), "high"),
    **dict.fromkeys(("mae", "rmse", "far", "crps", "brier", "reliability", "log_spectral_distance"), "low"),
    **dict.fromkeys(("effective_resolution", "ensemble_rmse", "missing_share"), "low"),
    **dict.fromkeys(("parameters", "train_steps", "train_seconds", "step_ms", "latency_s"), "low"),
    **dict.fromkeys(("frequency_bias", "spread_skill_ratio"), "one"),
    "bias": "zero",
}
NAMES = {
    **{name: name.upper() for name in ("csi", "pod", "far", "hss", "ets", "fss", "mae", "rmse", "crps", "ssim")},
    "frequency_bias": "frequency bias",
    "bias": "mean error",
    "brier": "Brier score",
    "brier_skill": "Brier skill",
    "roc_area": "ROC area",
    "log_spectral_distance": "spectral distance",
    "effective_resolution": "effective resolution",
    "spread_skill_ratio": "spread / error",
    "step_ms": "step, ms",
    "latency_s": "forecast, s",
    "train_steps": "training steps",
    "train_seconds": "training, s",
    "windows_per_second": "windows / s",
}
UNITS = {"mm h-1": "mm/h", "mm2 h-2": "mm²/h²", "1": ""}
POOLED = "pooled_"

_COLUMN = re.compile(r"(?P<score>[a-z]\w*?)(?P<numbers>(_\d+(\.\d+)?)*)")


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Args:
        key: in the CSV.
        head: for people.
        note: the second line of the head, such as lead time and threshold.
        better: which values are.
        text: whether it holds words.
    """

    key: str
    head: str
    note: str = ""
    better: Better = "none"
    text: bool = False


def better(score: str) -> Better:
    """Which way a score is better, by its name."""
    return BETTER.get(score.removeprefix(POOLED), "none")


def name(score: str) -> str:
    """A score's name for people."""
    words = NAMES.get(score.removeprefix(POOLED), score.removeprefix(POOLED).replace("_", " "))
    return f"{words} of blocks" if score.startswith(POOLED) else words


def unit(units: str) -> str:
    """Units as people write them."""
    return UNITS.get(units, units)


def column(key: str) -> Column:
    """A numeric column of the leaderboard: csi_1_30 is the CSI at 1 mm/h and a lead time of 30 minutes."""
    match = _COLUMN.fullmatch(key)
    if match is None:
        return Column(key, key)
    score = match["score"].removesuffix("_km")
    numbers = match["numbers"].split("_")[1:]
    parts = [f"{lead} min" for lead in numbers[-1:]]
    parts += [f"≥ {threshold} mm/h" for threshold in numbers[-2:-1]]
    parts += [f"{width} km" for width in numbers[-3:-2]]
    if match["score"].endswith("_km"):
        parts.append("km")
    return Column(key, name(score), ", ".join(parts), better(score))
