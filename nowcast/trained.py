"""Trained: a checkpoint as a Forecaster."""

import hashlib
import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
import xarray as xr
from einops import rearrange
from torch import nn

from nowcast import scaling
from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import Archive, Grid
from nowcast.labelled import forecast_array
from nowcast.lessons import whole
from nowcast.models._output import output_of
from nowcast.products import Product, product
from nowcast.training import CHECKPOINT_KEY, as_rate, build, unseen_as_nan

FINER = 0.9  # grids finer than this share of the trained grid length are refused

Precision = Literal["float32", "bfloat16"]


class Trained(Forecaster):
    """A trained network, with what it must know of the data it was trained on.

    Args:
        network: in eval mode.
        facts: step_s, past_frames, steps and pixel_m of its training data.
        config: what it was built from.
        digest: SHA-256 of the checkpoint file.
        product: which field `forecast` gives, see `nowcast.products`.
        seed: of the noise of a network that draws members; the same seed makes the same forecasts, in any batch.

    Its `precision` is float32, or, set before it forecasts, bfloat16, where convolutions and matrix products of the
    network may have three digits.
    """

    precision: Precision = "float32"

    def __init__(
        self,
        network: nn.Module,
        facts: dict[str, Any],
        config: dict[str, Any],
        digest: str,
        product: Product = "median",
        seed: int = 0,
    ) -> None:
        self.network, self.facts, self.config, self.digest = network, facts, config, digest
        self.product, self.seed = product, seed
        self.parameters = sum(weight.numel() for weight in network.parameters())
        self.name = config["network"]["class_path"].rsplit(".", 1)[-1]
        if product != "median":
            self.name += f" {product}"
        self.past_frames, self.steps, self.step_s = facts["past_frames"], facts["steps"], facts["step_s"]

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "cpu", product: Product = "median") -> Self:
        """Load a checkpoint as data: nothing in it is executed, and only classes of nowcast and torch are built.

        Args:
            path: a checkpoint of `python -m nowcast.train`, or its run folder (whose best.ckpt is taken).
            device: where the network will run.
            product: which field `forecast` gives: median, mean, or matched to the last frame's distribution, or of
                the events of greatest expected CSI (of a distribution only).

        Raises:
            InputError: when the file is missing, damaged, or not a checkpoint of nowcast.
        """
        path = Path(path)
        path = path / "best.ckpt" if path.is_dir() else path
        if not path.exists():
            raise InputError(f"checkpoint {path} does not exist")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} cannot be read as a checkpoint of plain data: it is damaged, another kind of file, "
                "or holds code"
            ) from error
        own = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
        if not own or not own.get("config"):
            raise InputError(f"{path} is no checkpoint of nowcast: it does not say how to build its network")
        if own["scaling"] != scaling.NAME:
            raise InputError(
                f"{path} was trained with another scaling ({own['scaling']}) than this version's ({scaling.NAME})"
            )
        task = build(own["config"])
        try:
            task.load_state_dict(checkpoint["state_dict"])
        except (RuntimeError, KeyError) as error:
            raise InputError(f"{path} does not fit its own network: {str(error).splitlines()[0]}") from error
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(task.network.to(device).eval(), own["data"], own["config"], digest, product)

    def describe(self) -> dict[str, str]:
        """Checkpoint hash, config and training data, as attributes of a forecast file."""
        return {
            "checkpoint_sha256": self.digest,
            "config": json.dumps(self.config),
            "trained_on": json.dumps(self.facts),
            "product": self.product,
            **({"precision": self.precision} if self.precision != "float32" else {}),
            **({"seed": str(self.seed)} if self._draws else {}),
        }

    def check(self, archive: Archive) -> None:
        """Raise InputError when an archive's grid is finer than the network was trained on."""
        self.check_grid(archive.grid, archive.paths[0])

    def check_grid(self, grid: Grid, source: str) -> None:
        """Raise InputError when the grid of a source is finer than the network was trained on."""
        trained, given = self.facts["pixel_m"], grid.pixel_m
        if given < FINER * trained:
            raise InputError(
                f"{source} has a grid length of {given:.0f} m, the network was trained on {trained:.0f} m; "
                f"resample the archive to {trained:.0f} m or retrain"
            )

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        """(B, T_in, C, H, W) mm/h with NaN → (B, steps, C, H, W) mm/h; NaN where no past frame has coverage.

        Raises:
            InputError: for more steps than the network was trained to make, or fewer past frames than it needs.
        """
        fields, last = self._fields(past, steps)
        rate = as_rate(product(self.product, self.network, fields, last), past.to(fields.device))
        return rate.to(past.device)

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        """(B, T_in, 1, H, W) → (B, members, steps, 1, H, W) mm/h, of a network with a distribution.

        A network that draws members draws as many; of others they are equally likely quantiles.
        """
        output = output_of(self.network)
        if output is None:
            return super().ensemble(past, steps, members)
        fields, _ = self._fields(past, steps, members if self._draws else None)
        drawn = as_rate(output.members(fields, members), past.to(fields.device))
        return rearrange(drawn, "b t m h w -> b m t 1 h w").to(past.device)

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        """(B, T_in, 1, H, W) → (B, steps, K, 1, H, W) mm/h, of a network with a distribution."""
        output = output_of(self.network)
        if output is None:
            return super().quantile(past, steps, levels)
        fields, _ = self._fields(past, steps)
        rates = as_rate(torch.cat([output.quantile(fields, q) for q in levels], dim=2), past.to(fields.device))
        return rearrange(rates, "b t k h w -> b t k 1 h w").to(past.device)

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        """(B, T_in, 1, H, W) → (B, steps, K, 1, H, W), of a network with a distribution."""
        output = output_of(self.network)
        if output is None:
            return super().probability(past, steps, thresholds)
        fields, _ = self._fields(past, steps)
        chance = unseen_as_nan(output.exceedance(fields, thresholds), past.to(fields.device))
        return rearrange(chance, "b t k h w -> b t k 1 h w").to(past.device)

    def nowcast(self, frames: xr.DataArray, steps: int | None = None, tile: str = "auto") -> xr.DataArray:
        """From (time, y, x) with `units` the labelled forecast (lead_time, y, x); see `nowcast.labelled`."""
        return forecast_array(self, frames, steps or self.steps, self.step_s, tile)

    @torch.inference_mode()
    def _fields(self, past: torch.Tensor, steps: int, members: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network makes of past frames, scaled, and the last of them, scaled with NaN."""
        if steps > self.steps:
            reach = self.steps * self.step_s / 60
            raise InputError(f"{self.name} was trained for {self.steps} steps ({reach:g} min), not {steps}")
        if past.shape[1] < self.past_frames:
            raise InputError(f"{self.name} needs {self.past_frames} past frames, it was given {past.shape[1]}")
        device = next(self.network.parameters(), torch.empty(0)).device
        scaled, known = scaling.scale(past[:, -self.past_frames :].to(device))
        last = torch.where(known[:, -1], scaled[:, -1], torch.nan)
        # Sample by sample, so that each one's noise is its own in any batch.
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self._draws:
                fields = torch.cat([self._drawn(one, members) for one in scaled.split(1)])
            else:
                fields = whole(self.network, scaled)
        return fields[:, :steps].float(), last

    @property
    def _draws(self) -> bool:
        output = output_of(self.network)
        return output is not None and output.drawn

    def _drawn(self, scaled: torch.Tensor, members: int | None) -> torch.Tensor:
        """Members of one sample; their noise begins with the seed, whatever was drawn before."""
        with torch.random.fork_rng([scaled.device] if scaled.is_cuda else []):
            torch.manual_seed(self.seed)
            return whole(self.network, scaled, members)
