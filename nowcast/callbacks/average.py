"""Average: exponential moving average of the weights, used wherever the network is judged or kept (Lightning's engine).

Averages of weights over training generalise better than the last ones: Polyak and Juditsky 1992 (doi 10.1137/0330046),
Izmailov et al. 2018 (arXiv 1803.05407).
"""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn

from nowcast.contracts import InputError


class Average(EMAWeightAveraging):
    """w̄ ← decay·w̄ + (1 − decay)·w after every optimiser step; validation, test and checkpoints have w̄.

    A checkpoint holds w as well, so that a resumed run continues exactly. Costs one more copy of the weights.

    Args:
        decay: of the average, whose memory is 1 / (1 − decay) steps.
        start: optimiser step of the first average.
    """

    def __init__(self, decay: float = 0.999, start: int = 0) -> None:
        super().__init__(decay=decay, update_starting_at_step=start)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raise InputError for weights in shards, of which Lightning makes no average."""
        if isinstance(trainer.strategy, FSDPStrategy):
            raise InputError(
                "weights in shards (--trainer.strategy fsdp) are not averaged; leave Average out, or use ddp"
            )
        super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore w beside w̄ when training continues; a test has w̄, which Lightning would replace by w."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
