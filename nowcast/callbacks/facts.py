"""What is known of a run when it begins: plain data for loggers and files, and the same as a model card to read."""

import hashlib
from typing import Any

import torch

import nowcast
from nowcast.data.datamodule import RadarData
from nowcast.training import NowcastTask


def facts_of(task: NowcastTask, data: RadarData, config: dict[str, Any], commit: str | None) -> dict[str, Any]:
    """Plain data that identify a run.

    Args:
        task: that is trained.
        data: which is set up.
        config: with everything resolved.
        commit: of the code.
    """
    return {
        "network": type(task.network).__name__,
        "parameters": task.weights,
        "loss": type(task.loss).__name__,
        "windows": {split: sum(len(source.windows) for source in sources) for split, sources in data.sources.items()},
        "data": data.facts(),
        "data_fingerprint": fingerprint(data),
        "version": nowcast.__version__,
        "commit": commit,
        "torch": torch.__version__,
        "config": config,
    }


def fingerprint(data: RadarData) -> str:
    """The same for the same windows of the same rain: of each split its archives, times, and rain by blocks of pixels.

    Unlike that of a benchmark's protocol it costs no reading of all frames.
    """
    digest = hashlib.sha256()
    for split in sorted(data.sources):
        for source in data.sources[split]:
            times = source.times[source.windows].astype("datetime64[s]").astype("int64")
            digest.update(f"{split} {source.name} {source.frames.shape} {times.shape}".encode())
            for values in (times, source.frames.rain, source.frames.known):
                digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def model_card(facts: dict[str, Any]) -> str:
    """Facts as short markdown: what was trained, on what, and from which code."""
    config = facts["config"]
    model, data = config["model"], config["data"]
    window = data["window"]
    rows = {
        "network": _made_of(facts["network"], model["network"]),
        "parameters": f"{facts['parameters']:,}",
        "loss": _made_of(facts["loss"], model["loss"]),
        "learning rate": f"{model['learning_rate']:g}",
        "forecast": (
            f"{window['steps']} frames of {window['step_minutes']:g} min from {window['past_frames']}, "
            f"grid length {facts['data']['pixel_m'] / 1000:g} km"
        ),
        **{
            {"train": "trained on", "val": "validated on", "test": "to be tested on"}[split]: (
                f"{facts['windows'][split]:,} windows of " + ", ".join(map(_block, data[split]))
            )
            for split in ("train", "val", "test")
            if split in facts["windows"]
        },
        "crops": f"{data['crops']['size']} × {data['crops']['size']} pixels, {data['crops']['samples']:,} an epoch",
        "data fingerprint": facts["data_fingerprint"],
        "seed": config["seed_everything"],
        "code": f"nowcast {facts['version']}, commit {facts['commit'] or 'unknown'}, torch {facts['torch']}",
    }
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"# {facts['network']}", "", "| | |", "|---|---|", *lines, "", NOTE, ""])


NOTE = (
    "Rain rates in mm/h from past frames alone. Scores on the test archives are in skill.csv; they hold for that data, "
    "and say nothing of other radars, climates, seasons or grid lengths."
)


def _made_of(name: str, part: dict[str, Any]) -> str:
    options = {key: value for key, value in (part.get("init_args") or {}).items() if value is not None}
    return f"{name} ({', '.join(f'{key} {value}' for key, value in options.items())})" if options else name


def _block(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    ends = [f"{word} {block[key]}" for word, key in (("from", "begin"), ("to", "end")) if block.get(key)]
    return " ".join([str(block["path"]), *ends])


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
