"""Samples: forecasts of the same few validation cases after every so many epochs, as pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch

from nowcast.callbacks.loggers import is_due, log_animation, log_picture
from nowcast.callbacks.resumable import random_state, set_random_state
from nowcast.data.cache import BLOCK
from nowcast.data.datamodule import RadarData
from nowcast.data.dataset import Cut, Cuts, tiles
from nowcast.report.maps import Case
from nowcast.report.runs.pictures import write_film, write_sheet
from nowcast.training import NowcastTask, forecast_rate

FOLDER, FILM = "samples", "latest.gif"
SEED = 1  # of networks that draw noise, so that samples of two epochs differ by the weights alone


class Samples(pl.Callback):
    """Writes samples/epoch_0003.png and samples/latest.gif into the run folder, and shows both in the loggers.

    The cases are the rainiest of the validation, chosen once. The first process forecasts them, with the weights that
    are validated (it is to come before `Average`), and leaves the random numbers of the training as they were.

    Args:
        folder: of the run.
        every_epochs: epochs from one picture to the next, 0 for none; otherwise the last validation always has one.
        cases: how many.
    """

    def __init__(self, folder: Path, every_epochs: int = 1, cases: int = 2) -> None:
        self.folder, self.every_epochs, self.cases = folder / FOLDER, every_epochs, cases
        self._chosen: tuple[Cuts, list[Cut]] | None = None

    def on_validation_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Forecast and draw the cases, when it is time to."""
        if is_due(trainer, self.every_epochs):
            with cast(NowcastTask, task).whole():
                if trainer.is_global_zero:
                    self._draw(trainer, cast(NowcastTask, task))

    def _draw(self, trainer: pl.Trainer, task: NowcastTask) -> None:
        data: RadarData = trainer.datamodule  # type: ignore[attr-defined]
        self._chosen = self._chosen or rainiest(data, "val", self.cases)
        with undisturbed(), trainer.precision_plugin.forward_context():
            torch.manual_seed(SEED)
            cases = [forecast_case(task, data, self._chosen[0], cut) for cut in self._chosen[1]]
        self.folder.mkdir(parents=True, exist_ok=True)
        epoch = trainer.current_epoch + 1
        sheet, film = self.folder / f"epoch_{epoch:04}.png", self.folder / FILM
        write_sheet(cases, f"epoch {epoch}", sheet)
        write_film(cases, f"epoch {epoch}", film)
        step = trainer.global_step - 1
        log_picture(trainer.loggers, "validation/samples", sheet, step)
        log_animation(trainer.loggers, "validation/film", film, step)


def rainiest(data: RadarData, split: str, number: int) -> tuple[Cuts, list[Cut]]:
    """The cuts of a split with the most rain in the last past frame, of different archives as far as there are several.

    Those of one archive do not overlap in time, unless there are too few. The same data give the same cuts.

    Args:
        data: which is set up.
        split: train, val or test.
        number: of cuts.

    Returns:
        The dataset, and the cuts in their order in it.
    """
    sources, tile, past = data.sources[split], data.crops.tile, data.window.past_frames

    def rain(cut: Cut) -> float:
        source = sources[cut.source]
        blocks = source.frames.rain[source.windows[cut.window][past - 1]]
        if tile:
            first, last = (cut.row // BLOCK, cut.column // BLOCK), (cut.row + tile, cut.column + tile)
            blocks = blocks[first[0] : -(-last[0] // BLOCK), first[1] : -(-last[1] // BLOCK)]
        return float(blocks.sum())

    rains = {cut: rain(cut) for cut in tiles(sources, tile, data.crops.every)}
    chosen: list[Cut] = []

    def order(cut: Cut) -> tuple:
        siblings = [one for one in chosen if one.source == cut.source]
        overlaps = any(abs(one.window - cut.window) < data.window.frames for one in siblings)
        return len(siblings), overlaps, -rains[cut], cut

    while len(chosen) < min(number, len(rains)):
        chosen.append(min(rains.keys() - set(chosen), key=order))
    return Cuts(sources, past, tile), sorted(chosen)


def forecast_case(task: NowcastTask, data: RadarData, dataset: Cuts, cut: Cut) -> Case:
    """A validation case with the forecast of the network, as it is now."""
    batch = dataset[cut]
    forecast = forecast_rate(task.network, batch["past"][None].to(task.device))
    return as_case(data, "val", dataset, cut, {"network": forecast})


def as_case(data: RadarData, split: str, dataset: Cuts, cut: Cut, forecasts: dict[str, torch.Tensor]) -> Case:
    """A cut and its forecasts (1, steps, 1, H, W) mm/h, ready to be drawn."""
    batch = dataset[cut]
    return Case(
        past=batch["past"][:, 0].numpy(),
        observed=batch["future"][:, 0].numpy(),
        forecasts={name: forecast[0, :, 0].float().cpu().numpy() for name, forecast in forecasts.items()},
        start=np.datetime64(int(batch["start"]), "s"),
        step_minutes=data.window.step_minutes,
        pixel_km=data.archives[split][cut.source].grid.pixel_m / 1000,
        title=dataset.sources[cut.source].name,
    )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside, random numbers outside go on as if nothing had been."""
    state: dict[str, Any] = random_state()
    try:
        yield
    finally:
        set_random_state(state)
