"""Who forecasts, in words: a checkpoint or a baseline, which any process can turn into a forecaster."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nowcast import baselines
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, Grid
from nowcast.exported import ENDINGS, load
from nowcast.lagged import Lagged
from nowcast.products import Product
from nowcast.tiling import Tiled, tiled
from nowcast.trained import Precision, Trained


@dataclass(frozen=True)
class Source:
    """What makes a forecaster. Unlike one it is small, can be pickled, and is equal to another that makes the same.

    Args:
        checkpoint: path of a trained network, or None.
        baseline: name of one, or None.
        product: of a checkpoint, see `nowcast.products`.
        tile: auto, none, or a side in pixels, of a checkpoint.
        memory_gb: what a tile may take, for auto.
        lagged: initial times of a lagged ensemble; 0 makes none.
        devices: CUDA devices that processes share among them; 0 is the CPU.
        precision: of a checkpoint's network, float32 or bfloat16.

    Raises:
        InputError: unless one of checkpoint and baseline is named; for bfloat16 in what computes in float32 only.
    """

    checkpoint: str | None = None
    baseline: str | None = None
    product: Product = "median"
    tile: str = "auto"
    memory_gb: float = 3
    lagged: int = 0
    devices: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.baseline is None):
            raise InputError(f"name either a --checkpoint or a --baseline ({', '.join(baselines.names())})")
        if self.precision != "float32" and (self.checkpoint is None or Path(self.checkpoint).suffix in ENDINGS):
            raise InputError(f"--precision {self.precision} is for checkpoints; baselines and exports have none")

    def load(self, worker: int = 0) -> Trained | None:
        """The network of a checkpoint, on the device of a worker, by its number; None of a baseline."""
        if self.checkpoint is None:
            return None
        device = f"cuda:{worker % self.devices}" if self.devices else "cpu"
        trained = load(self.checkpoint, device, self.product)
        trained.precision = self.precision
        return trained

    def fit(self, trained: Trained | None, grid: Grid, name: str, step_minutes: float) -> Forecaster:
        """The forecaster for a grid and a time step.

        Args:
            trained: what `load` gave.
            grid: of the frames.
            name: of where they come from.
            step_minutes: between lead times.
        """
        forecaster: Forecaster
        if trained is None:
            forecaster = baselines.create_for(str(self.baseline), grid.pixel_m / 1000, step_minutes)
        else:
            trained.check_grid(grid, name)
            forecaster = tiled(trained, self.tile, grid.shape, self.memory_gb)
        return Lagged(forecaster, self.lagged) if self.lagged else forecaster

    def fitted_as(self, forecaster: Forecaster) -> "Source":
        """This source for other processes: with the tiles that a forecaster of it has, and its path from the root."""
        whole = forecaster.forecaster if isinstance(forecaster, Lagged) else forecaster
        tile = str(whole.side) if isinstance(whole, Tiled) else "none"
        return replace(self, tile=tile, checkpoint=self.checkpoint and os.path.abspath(self.checkpoint))

    def make(self, archive: Archive, step_minutes: float, worker: int) -> Forecaster:
        """The forecaster for an archive, in the process of a worker."""
        return self.fit(self.load(worker), archive.grid, archive.paths[0], step_minutes)


def cuda_devices(wanted: str) -> int:
    """How many CUDA devices "auto", all there are, or a number means.

    Raises:
        InputError: for another word, or more than there are.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return there
    if not wanted.isdigit():
        raise InputError(f"--devices is auto or a number of CUDA devices, 0 for the CPU, not {wanted!r}")
    if int(wanted) > there:
        raise InputError(f"--devices {wanted}: there are {there} CUDA devices")
    return int(wanted)
