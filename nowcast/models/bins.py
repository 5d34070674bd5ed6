"""Any network, forecasting the probability of rain-rate bins at each pixel.

As MetNet does, Sønderby et al. 2020, arXiv 2003.12140. Train with `nowcast.likelihoods.Categorical` or `Ordinal` of the
same edges.
"""

from collections.abc import Sequence
from typing import Any

from nowcast import models
from nowcast.likelihoods import EDGES
from nowcast.models._distribution import Distribution, one_channel
from nowcast.models._output import BinOutput

__all__ = ["Bins"]


class Bins(Distribution):
    """K logits: of no rain, of each bin between neighbouring edges, and of more than the last edge.

    (B, past_frames, 1, H, W) → (B, steps, K, H, W). A last frame that the network inside adds to all logits alike
    changes no probability, so a residual network has all bins equally likely when untrained.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C, which is 1.
        network: what makes the logits: the name of a network, or {name: se_resunet, width: 32}.
        edges: rising rates in mm/h between neighbouring bins, K − 1 of them; less than the first counts as dry.

    Raises:
        InputError: for other channels than one, or edges that do not rise.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        network: Any = "se_resunet",
        edges: Sequence[float] = EDGES,
    ) -> None:
        one_channel("Bins", channels)
        output = BinOutput(edges)
        bins = len(output.edges) + 1
        lengths = {"past_frames": past_frames, "steps": steps, "channels": channels, "outputs": bins}
        super().__init__(models.create(network, **lengths), output)
