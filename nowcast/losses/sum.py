"""Several losses as one."""

from collections.abc import Sequence

import torch
from torch import nn

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss


class Sum(Loss):
    """Σ weight · loss.

    Args:
        losses: to add.
        weights: one for each; all 1 when left out.
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(losses) if weights is None else list(weights)
        if not losses or len(weights) != len(losses):
            raise InputError(f"Sum needs losses, each with a weight, not {len(losses)} losses and weights {weights}")
        self.losses, self.weights = nn.ModuleList(losses), weights

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        losses = [loss(predicted, target, known) for loss in self.losses]
        return torch.stack([w * loss for w, loss in zip(self.weights, losses, strict=True)]).sum()
