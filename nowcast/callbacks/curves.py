"""Curves: training curves as metrics.csv, which goes on where a checkpoint was when a run is resumed."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger


class Curves(CSVLogger):
    """Writes metrics.csv into a run folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="", version="")
        path = folder / "metrics.csv"
        # Read now, since the writer removes a file that is there.
        text = path.read_text() if path.exists() else ""
        self._earlier = list(csv.DictReader(text.splitlines()))

    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing: config.yaml and model_card.md of the run folder have them."""

    def keep(self, step: int) -> None:
        """Continue a file with what it says of the steps before this one; what comes later is done again."""
        rows = [row for row in self._earlier if int(row["step"]) < step]
        self.experiment.metrics = [{name: text for name, text in row.items() if text} for row in rows]
        self.save()
