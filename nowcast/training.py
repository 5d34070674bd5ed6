"""NowcastTask, the one LightningModule (network, loss, scaling, optimiser, scores), and how a config builds it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from jsonargparse import ArgumentError, ArgumentParser, lazy_instance
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from nowcast import scaling
from nowcast.baselines.persistence import Persistence
from nowcast.contracts import Batch, InputError
from nowcast.data.datamodule import RadarData
from nowcast.lessons import ask, centre, lesson, margin_of, whole
from nowcast.losses import MAE, Loss
from nowcast.models._output import output_of
from nowcast.processes import from_all
from nowcast.verification import Scores, all_reduce, standard_scores

CHECKPOINT_KEY = "nowcast"  # where a checkpoint keeps what it needs to stand alone
TRUSTED_PACKAGES = ("nowcast", "torch")  # where classes named by a checkpoint may come from


class NowcastTask(pl.LightningModule):
    """Trains a network on scaled windows and scores it in mm/h by lead time, beside persistence.

    Args:
        network: between scaled fields, (B, T_in, C, H, W) → (B, steps, C, H, W).
        loss: of scaled fields over known pixels.
        learning_rate: the highest, reached after the warm-up; it then falls to zero along a cosine.
        weight_decay: of AdamW.
        warmup: share of the run, in steps or of its time budget, in which the learning rate rises.
        thresholds: in mm/h, of the categorical scores.
        channels_last: whether convolutions see channels-last memory, which most devices favour; not those of a network
            in shards.
        compile: whether training steps are compiled by torch.compile, which takes minutes at first and pays on GPUs.

    Raises:
        InputError: for a number that is none of such.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss = lazy_instance(MAE),
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.05,
        thresholds: Sequence[float] = (0.1, 1.0, 5.0),
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if learning_rate <= 0 or weight_decay < 0 or not 0 <= warmup <= 1 or min(thresholds, default=1) <= 0:
            raise InputError(
                "learning_rate and thresholds are above 0, weight_decay at least 0, warmup from 0 to 1, not "
                f"{learning_rate}, {list(thresholds)}, {weight_decay} and {warmup}"
            )
        self.network, self.loss = network, loss
        self.learning_rate, self.weight_decay, self.warmup = learning_rate, weight_decay, warmup
        self.thresholds = tuple(thresholds)
        self.weights = sum(weight.numel() for weight in network.parameters())
        if channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Not the network itself, which forecasts of any size are asked for.
        self.taught = torch.compile(taught) if compile else taught
        self.config: dict[str, Any] | None = None  # class paths and arguments that built this; see `build`
        self.skill: dict[str, Scores] = {}
        self.losses = [0.0, 0]  # sum over the windows of this epoch so far, and how many there were, in this process
        self._batch: Batch | None = None  # the last one that was trained on
        self._time_spent = 0.0  # share of the time budget, if there is one, the same in every process

    def setup(self, stage: str) -> None:
        """Have weights that will be in shards with channels first, before they are."""
        if isinstance(self.trainer.strategy, FSDPStrategy):
            # PyTorch restores the optimiser's state of weights with channels last in another order than theirs.
            self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def on_train_epoch_start(self) -> None:
        """Begin a new mean loss."""
        self.losses = [0.0, 0]

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Look at the clock of the time budget (`trainer.max_time`)."""
        budget = self._time_budget()
        if budget:
            spent, left = budget.time_elapsed(), budget.time_remaining() or 0.0
            self._time_spent = float(self.trainer.strategy.broadcast(spent / max(spent + left, 1e-9)))

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """One step of the loss over known pixels."""
        loss = self.taught(self.network, self.loss, batch["past"], batch["future"], self._progress())
        self._batch = batch
        if self.trainer.strategy.reduce_boolean_decision(not torch.isfinite(loss), all=False):
            self._give_up("loss", loss.item())
        self.log("loss", loss, prog_bar=True)
        windows = len(batch["past"])
        self.losses = [self.losses[0] + windows * loss.item(), self.losses[1] + windows]
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Log the norm of the gradient, stop before weights are lost to one that is no number, and clip it."""
        if self.trainer.precision == "16-mixed":
            # Gradients are scaled there, and steps whose gradient overflows are left out.
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        by_value = gradient_clip_algorithm == "value"
        norm = self._clipped(math.inf if by_value else gradient_clip_val or math.inf)
        if not torch.isfinite(norm):
            with self.whole():
                self._give_up("gradient", norm.item())
        self.log("gradient_norm", norm)
        if by_value and gradient_clip_val:
            nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Have the last batch followed by a validation, wherever in an epoch steps or time end the run."""
        trainer = self.trainer
        last_epoch = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
        if last_epoch or trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
        if trainer.should_stop:
            trainer.check_val_every_n_epoch = 1
        if trainer.should_stop or trainer.is_last_batch:
            # Summed here and not by Lightning, whose sums a checkpoint does not hold.
            total, windows = self.losses
            mean = total / windows
            self.log("train_loss", mean, on_step=False, on_epoch=True, batch_size=int(windows), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self.skill = {"network": self._scores()}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Loss and skill of one batch."""
        forecast = ask(self.network, scaling.scale(batch["past"])[0])
        past, future = (centre(frames, margin_of(self.network)) for frames in (batch["past"], batch["future"]))
        loss = compared(self.network, self.loss, forecast, *scaling.scale(future))
        self.log("val_loss", loss, prog_bar=True, batch_size=len(past), sync_dist=True)
        self.skill["network"].update(as_rate(point(self.network, forecast), past), future)

    def on_validation_epoch_end(self) -> None:
        """Log skill by lead time, over all processes; lead times are never averaged."""
        all_reduce(self.skill["network"])
        scores = self.skill["network"].compute()
        for lead in scores.lead_time.values:
            at = scores.sel(lead_time=lead)
            self.log(f"val_mae/{lead:.0f}min", float(at.mae))
            for threshold in scores.threshold.values:
                self.log(f"val_csi_{threshold:g}/{lead:.0f}min", float(at.csi.sel(threshold=threshold)))

    def on_test_epoch_start(self) -> None:
        """Begin new sums, for the network and for persistence on the same windows."""
        self.skill = {"network": self._scores(), "persistence": self._scores()}

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Skill of one batch."""
        past, future = batch["past"], batch["future"]
        self.skill["network"].update(forecast_rate(self.network, past), future)
        self.skill["persistence"].update(Persistence().forecast(past, future.shape[1]), future)

    def on_test_epoch_end(self) -> None:
        """Have the sums of all processes."""
        for scores in self.skill.values():
            all_reduce(scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a linear warm-up and a cosine down to zero over the whole run."""
        fused = self.trainer.precision != "16-mixed"  # some milliseconds faster, but not for gradients that are scaled
        optimiser = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused
        )
        one_step = 1 / self._total_steps()
        if not one_step and not self._time_budget():
            raise InputError(
                "training has no end, so the learning rate cannot fall towards it; give trainer.max_epochs, max_steps "
                "or max_time"
            )
        rising = max(self.warmup, one_step)

        def share(_: int) -> float:
            done = self._progress()
            if done < rising:
                return min((done + one_step) / rising, 1)
            return 0.5 * (1 + math.cos(math.pi * min((done - rising) / max(1 - rising, 1e-9), 1)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the checkpoint needs to stand alone: plain data only."""
        checkpoint[CHECKPOINT_KEY] = {
            "config": self.config,
            "scaling": scaling.NAME,
            "data": self._data().facts(),
        }

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The time in which each process has all weights, also of a model in shards; all processes enter it."""
        model = self.trainer.strategy.model
        if isinstance(model, FullyShardedDataParallel):
            with FullyShardedDataParallel.summon_full_params(model, writeback=False):
                yield
        else:
            yield

    def _clipped(self, most: float) -> torch.Tensor:
        """The norm of the whole gradient, which is scaled down to a norm of at most so much."""
        model = self.trainer.strategy.model
        if isinstance(model, FullyShardedDataParallel):  # each process has a shard of the gradient
            return model.clip_grad_norm_(most)
        return nn.utils.clip_grad_norm_(self.parameters(), most)

    def _give_up(self, what: str, value: float) -> NoReturn:
        """Keep the batches and the weights that made a loss or gradient no number, and say where the batches are from.

        Processes enter it together, so that none waits for another that has left, and all say the same.
        """
        told = from_all(self.trainer, None if math.isfinite(value) else (value, self._kept()))
        bad = [one for one in told if one]
        where = "; and in ".join(kept for _, kept in bad)
        raise InputError(
            f"the {what} is {bad[0][0]} at step {self.global_step}, in {where}. Try a lower model.learning_rate or "
            "trainer.gradient_clip_val, or resume from the last checkpoint with other options"
        )

    def _kept(self) -> str:
        """The last batch, which is saved with the weights, in words."""
        batch = self._batch
        assert batch is not None
        keeper = self.trainer.checkpoint_callback
        folder = Path(getattr(keeper, "dirpath", None) or self.trainer.default_root_dir)
        path = folder / f"bad_batch_{self.global_rank}.pt"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"batch": dict(batch), "config": self.config, "state_dict": self.state_dict()}, path)
        return f"a batch of {'; '.join(self._data().names(batch))}; the batch and the weights are in {path}"

    def _progress(self) -> float:
        """Share of the training that is done: of its steps or of its time budget, whichever is more."""
        return min(max(self.global_step / self._total_steps(), self._time_spent), 1.0)

    def _total_steps(self) -> float:
        """Optimiser steps of the whole run, infinite where only time ends it."""
        return max(self.trainer.estimated_stepping_batches, 1)

    def _time_budget(self) -> Timer | None:
        """The clock of `trainer.max_time`."""
        timers = [callback for callback in self.trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
        return next((timer for timer in timers if timer.time_remaining() is not None), None)

    def _data(self) -> RadarData:
        data: RadarData = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def _scores(self) -> Scores:
        return standard_scores(self._data().window.lead_times, self.thresholds)


def taught(network: nn.Module, loss: Loss, past: torch.Tensor, future: torch.Tensor, progress: float) -> torch.Tensor:
    """The loss of one training step, a scalar.

    Args:
        network: between scaled fields.
        loss: of scaled fields.
        past, future: (B, T_in, C, H, W) and (B, T_out, C, H, W) mm/h with NaN.
        progress: share of the training that is done, from 0 to 1.
    """
    target, known = scaling.scale(future)
    forecast, target, known, extra = lesson(network, scaling.scale(past)[0], target, known, progress)
    return compared(network, loss, forecast, target, known) + extra


def compared(
    network: nn.Module, loss: Loss, forecast: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """The loss of a network's forecast, a scalar.

    Raises:
        InputError: when it is not of the target's shape.
    """
    made, wanted = list(forecast.shape), list(target.shape)
    if output_of(network):  # several fields for each one observed
        made[2] = wanted[2] = 1
    if made != wanted:
        raise InputError(
            f"the network makes forecasts of {tuple(forecast.shape)} for windows of {tuple(target.shape)} "
            "(B, T_out, C, H, W); its steps and the data's must agree"
        )
    value: torch.Tensor = loss(forecast, target, known)
    return value


def as_rate(scaled: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
    """A scaled forecast in mm/h, NaN where no past frame (B, T_in, C, H, W) has radar coverage."""
    return unseen_as_nan(scaling.unscale(scaled), past)


def unseen_as_nan(fields: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
    """Fields (B, steps, K, H, W), NaN where no past frame (B, T_in, C, H, W) has radar coverage."""
    never = torch.isnan(past).all(dim=1, keepdim=True)
    return torch.where(never, torch.nan, fields)


def point(network: nn.Module, forecast: torch.Tensor) -> torch.Tensor:
    """The one field of a network's forecast, scaled: of a distribution its median, which has the least MAE."""
    output = output_of(network)
    return output.median(forecast) if output else forecast


def forecast_rate(network: nn.Module, past: torch.Tensor) -> torch.Tensor:
    """What a network forecasts from (B, T_in, C, H, W) mm/h with NaN: (B, steps, C, H, W) mm/h."""
    return as_rate(point(network, whole(network, scaling.scale(past)[0])), past)


def build(config: Mapping[str, Any], trusted: Sequence[str] = TRUSTED_PACKAGES) -> NowcastTask:
    """A task from its config: the `model` section of a run, as class paths and arguments.

    Args:
        config: arguments of NowcastTask; modules as {"class_path": …, "init_args": {…}}.
        trusted: packages that class paths may point into; nothing else is imported.

    Raises:
        InputError: for a class outside the trusted packages, or arguments that do not fit.
    """
    for path in _class_paths(config):
        if path.split(".")[0] not in trusted:
            raise InputError(f"the config names {path}, outside the trusted packages {', '.join(trusted)}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(NowcastTask, "model")
    try:
        task = parser.instantiate(parser.parse_object({"model": dict(config)})).model
    except ArgumentError as error:
        raise InputError(f"the config does not describe a network: {error}") from error
    task.config = dict(config)
    return task


def _class_paths(config: Any) -> list[str]:
    if isinstance(config, Mapping):
        own = [str(config["class_path"])] if "class_path" in config else []
        return own + [path for value in config.values() for path in _class_paths(value)]
    if isinstance(config, list | tuple):
        return [path for value in config for path in _class_paths(value)]
    return []
