"""What every loss of forecasts promises."""

import torch
from torch import nn


class Loss(nn.Module):
    """What training minimises.

    predicted, target: (B, T, C, H, W), scaled (`nowcast.scaling`); known: bool, same shape, where target was observed.
    Values at unknown pixels, NaN included, touch neither the loss nor its gradient. A batch without a known pixel has
    the loss 0. Computed in 32 bits, also under autocast.

    A loss says what a pixel costs (`pixelwise`), or, where pixels cannot be told apart, what all cost (`over_known`).
    """

    def forward(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        with torch.autocast(predicted.device.type, enabled=False):
            # Before any arithmetic, as 0 · NaN is NaN.
            predicted, target = (fields.float().masked_fill(~known, 0) for fields in (predicted, target))
            return self.over_known(predicted, target, known)

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """The loss of fields that are 0 where not known."""
        error = torch.where(known, self.pixelwise(predicted, target), 0.0)
        return error.sum() / known.sum().clamp_min(1)

    def pixelwise(self, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of each pixel, same shape."""
        raise NotImplementedError
