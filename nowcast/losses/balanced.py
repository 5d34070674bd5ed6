"""Balanced MAE + MSE of HKO-7 (Shi et al. 2017, arXiv 1706.03458)."""

from collections.abc import Sequence

import torch

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss
from nowcast.scaling import scale


class Balanced(Loss):
    """Balanced MAE + MSE: pixels of heavier observed rain weigh more.

    w · (mae_weight · |error| + mse_weight · error²), w by the observed rate: 1 below the first threshold, then the
    given weights. Thresholds and weights of HKO-7 as defaults.

    Args:
        thresholds: rising rates in mm/h.
        weights: from each threshold on; one for each.
        mae_weight: of the absolute error.
        mse_weight: of the squared error.
    """

    _edges: torch.Tensor
    _weights: torch.Tensor

    def __init__(
        self,
        thresholds: Sequence[float] = (2, 5, 10, 30),
        weights: Sequence[float] = (2, 5, 10, 30),
        mae_weight: float = 1.0,
        mse_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if len(thresholds) != len(weights) or list(thresholds) != sorted(thresholds):
            raise InputError(f"Balanced needs rising thresholds, each with a weight, not {thresholds} and {weights}")
        self.mae_weight, self.mse_weight = mae_weight, mse_weight
        self.register_buffer("_edges", scale(torch.tensor([float(t) for t in thresholds]))[0], persistent=False)
        self.register_buffer("_weights", torch.tensor([1.0, *map(float, weights)]), persistent=False)

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        error = predicted - target
        weight = self._weights[torch.bucketize(target, self._edges, right=True)]
        return weight * (self.mae_weight * error.abs() + self.mse_weight * error.square())
