"""Losses that weigh all pixels alike: absolute, squared, and between the two."""

import torch
import torch.nn.functional as F

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss


class MAE(Loss):
    """Mean absolute error in network space; its best forecast is the median."""

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (predicted - target).abs()


class MSE(Loss):
    """Mean squared error in network space; its best forecast is the mean."""

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (predicted - target).square()


class Huber(Loss):
    """Squared for small errors, absolute for large ones (Huber 1964, doi 10.1214/aoms/1177703732).

    ½ error² up to delta, delta · (|error| − ½ delta) beyond.

    Args:
        delta: where one becomes the other, in network space (dBZ / 30); 0.1 is 3 dB.
    """

    def __init__(self, delta: float = 0.1) -> None:
        super().__init__()
        if delta <= 0:
            raise InputError(f"Huber needs a delta above 0, not {delta}")
        self.delta = delta

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.huber_loss(predicted, target, reduction="none", delta=self.delta)
