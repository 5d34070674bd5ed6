"""Run folders as trainings leave them, and as they do not: made of files alone, in a moment."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

HOSTILE = "<script>alert(1)</script>"
GATES = {"plain": None, "squeeze": "se", HOSTILE: "<b>eca</b>"}
STEPS = 700


def write_runs(root: Path) -> Path:
    """Three finished runs that differ in attention and learning rate, one broken, one half-written and one killed."""
    for number, (name, attention) in enumerate(GATES.items()):
        write_run(root / name, attention, 0.001 * (number + 1), number)
    (root / "broken").mkdir()
    (root / "broken" / "config.yaml").write_text("model: [")
    half = write_run(root / "half", "se", 0.002, 1)
    text = (half / "metrics.csv").read_text()
    (half / "metrics.csv").write_text(text[: len(text) // 2 + 7])
    (half / "run.json").write_text('{"state": "runn')
    (root / "no run").mkdir()
    (root / "no run" / "notes.txt").write_text("nothing")
    return root


def write_run(folder: Path, attention: Any, learning_rate: float, number: int = 0) -> Path:
    """A finished run whose losses fall the faster the higher its number."""
    (folder / "samples").mkdir(parents=True)
    config = {
        "run": str(folder),
        "model": {
            "network": {"class_path": "nowcast.models.Net", "init_args": {"attention": attention, "width": 8}},
            "learning_rate": learning_rate,
        },
        "trainer": {"max_epochs": 2, "default_root_dir": str(folder)},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "model_card.md").write_text(f"# Net of {attention}\n")
    state = {"state": "finished", "epochs": 2, "max_epochs": 2, "steps": STEPS, "max_steps": -1, "seconds": 3725.0}
    (folder / "run.json").write_text(json.dumps(state))
    write_curves(folder / "metrics.csv", number)
    write_skill(folder / "skill.csv", number)
    for epoch in (1, 2, 10):
        Image.new("RGB", (30 + epoch, 20), (50 * number, 9, epoch)).save(folder / "samples" / f"epoch_{epoch:04}.png")
    return folder


def loss(step: int, number: int) -> float:
    """Of a training step."""
    return 0.2 + math.exp(-(number + 1) * step / 200)


def write_curves(path: Path, number: int) -> None:
    """metrics.csv: losses of all steps, and a validation after each half."""
    validated = {f"val_csi_1/{lead}min": (1 + number) / lead for lead in (5, 30, 60)}
    names = ["step", "epoch", "loss", "learning_rate", "val_loss", "windows_per_second", *validated]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for step in range(STEPS):
            epoch = 2 * step // STEPS
            writer.writerow({"step": step, "epoch": epoch, "loss": loss(step, number), "learning_rate": 0.001})
            if (step + 1) % (STEPS // 2) == 0:
                values = {"val_loss": 0.5 - 0.1 * number - 0.01 * epoch, "windows_per_second": 100 + epoch}
                writer.writerow({"step": step, "epoch": epoch, **values, **validated})


def write_skill(path: Path, number: int) -> None:
    """skill.csv of a network and of persistence."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("forecast", "lead_time_min", "threshold", "score", "value", "cases"))
        for name, better in (("Net", 0.1 * (number + 1)), ("persistence", 0.0)):
            for lead in (5, 30, 60):
                writer.writerow((name, lead, "", "mae", 1 + lead / 100 - better, 9))
                writer.writerow((name, lead, "1", "csi", 0.5 - lead / 200 + better, 9))
                writer.writerow((name, lead, "5", "csi", "nan", 9))
