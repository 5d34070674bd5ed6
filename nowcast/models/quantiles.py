"""Any network, forecasting quantiles at each pixel.

Monotone by construction, as non-crossing quantile regression with positive gaps; levels as Koenker and Bassett 1978,
doi 10.2307/1913643. Train with `nowcast.likelihoods.Pinball` of the same levels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from nowcast import models
from nowcast.models._distribution import Distribution, one_channel
from nowcast.models._output import QuantileOutput

__all__ = ["Quantiles"]

# Untrained, neighbouring quantiles are softplus(START) apart: 0.05, or 1.5 dB.
START = -3.0


class Quantiles(Distribution):
    """K rising quantiles: the middle one as the network inside makes it, the others positive gaps away from it.

    (B, past_frames, 1, H, W) → (B, steps, K, H, W), scaled. The gaps are seen from the middle, so where the network
    inside adds the last frame to its fields that frame moves the whole distribution.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C, which is 1.
        network: what makes the fields: the name of a network, or {name: se_resunet, width: 32}.
        levels: of the quantiles: a number of even ones (9 is 0.1, 0.2, … 0.9), or a list.

    Raises:
        InputError: for other channels than one, or levels that do not rise between 0 and 1.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        network: Any = "se_resunet",
        levels: int | Sequence[float] = 9,
    ) -> None:
        one_channel("Quantiles", channels)
        output = QuantileOutput(levels)
        fields = len(output.levels)
        lengths = {"past_frames": past_frames, "steps": steps, "channels": channels, "outputs": fields}
        super().__init__(models.create(network, **lengths), output)
        self.middle = min(range(fields), key=lambda number: abs(output.levels[number] - 0.5))

    def shaped(self, fields: torch.Tensor) -> torch.Tensor:
        each = fields.float().unbind(2)
        middle = each[self.middle]

        def gap(field: torch.Tensor) -> torch.Tensor:
            return F.softplus(field - middle + START)

        quantiles = [middle]
        for field in each[self.middle + 1 :]:
            quantiles.append(quantiles[-1] + gap(field))
        for field in reversed(each[: self.middle]):
            quantiles.insert(0, quantiles[0] - gap(field))
        return torch.stack(quantiles, dim=2)
