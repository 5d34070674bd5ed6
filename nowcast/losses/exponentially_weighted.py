"""Balanced MAE + MSE whose weights grow without steps: exponentially in dBZ, which is a power law in mm/h."""

import math

import torch

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss
from nowcast.scaling import DBZ_PER_UNIT


class ExponentiallyWeighted(Loss):
    """MAE + MSE with weights that double every few dB of the observed reflectivity.

    w · (mae_weight · |error| + mse_weight · error²), w = min(2^(dBZ / doubling_dbz), most); w is 1 where it is dry.
    The defaults stay near the weights of HKO-7 (`Balanced`): 4.9 at 1 mm/h, 11 at 5 mm/h and 25 at 30 mm/h.

    Args:
        doubling_dbz: dB over which the weight doubles.
        most: largest weight.
        mae_weight: of the absolute error.
        mse_weight: of the squared error.
    """

    def __init__(
        self, doubling_dbz: float = 10.0, most: float = 30.0, mae_weight: float = 1.0, mse_weight: float = 1.0
    ) -> None:
        super().__init__()
        if doubling_dbz <= 0 or most < 1:
            raise InputError(
                f"ExponentiallyWeighted needs doubling_dbz above 0 and most of at least 1, not {doubling_dbz}, {most}"
            )
        self.doubling_dbz, self.most = doubling_dbz, most
        self.mae_weight, self.mse_weight = mae_weight, mse_weight

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        error = predicted - target
        doublings = (target * DBZ_PER_UNIT / self.doubling_dbz).clamp_max(math.log2(self.most))
        return torch.exp2(doublings) * (self.mae_weight * error.abs() + self.mse_weight * error.square())
