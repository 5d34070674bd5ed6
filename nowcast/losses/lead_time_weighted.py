"""Weights that grow with lead time, around any loss."""

import torch

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss


class LeadTimeWeighted(Loss):
    """A loss lead time by lead time, later ones counting more (or less).

    The weighted mean of the loss of each lead time, weights rising evenly from 1 at the first to `last` at the last
    one, each times the known pixels of its lead time: with `last` 1, MAE around MAE is MAE.

    Args:
        loss: of fields at one lead time.
        last: weight of the last lead time.
    """

    def __init__(self, loss: Loss, last: float = 2.0) -> None:
        super().__init__()
        if last <= 0:
            raise InputError(f"LeadTimeWeighted needs a weight above 0 for the last lead time, not {last}")
        self.loss, self.last = loss, last

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        parts = [part.split(1, dim=1) for part in (predicted, target, known)]
        losses = torch.stack([self.loss(*fields) for fields in zip(*parts, strict=True)])  # (T,)
        weights = torch.linspace(1, self.last, len(losses), device=losses.device) * known.sum(dim=(0, 2, 3, 4))
        return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
