"""Did rain come near where it was forecast: events anywhere in blocks of some kilometres.

Pooled CSI as published for SEVIR: Gao et al. 2022, "Earthformer", and its successors, by maximum pooling with
blocks that do not overlap; pooling to 4 and 16 km follows Ravuri et al. 2021, doi:10.1038/s41586-021-03854-z.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from nowcast.verification._events import event_thresholds, threshold_axis
from nowcast.verification._pixels import Judged, Pixels
from nowcast.verification._scales import in_pixels
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable
from nowcast.verification.contingency import CELLS, count, table_scores

__all__ = ["PooledContingency"]

POOLED = ("csi", "pod", "far", "frequency_bias")


class PooledContingency(SumsByLeadTime):
    """Contingency tables of blocks: an event is that the largest rate of a block reaches the threshold.

    Blocks are square and side by side from the upper left; a block at the lower or right border may be cut.
    Both maxima are over the judged pixels of a block, and a block with none is left out. Variables are named
    pooled_csi and so on, with dimension neighbourhood in km.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        thresholds: mm/h, positive and rising.
        pixel_km: width of a pixel.
        neighbourhoods: widths of blocks in km, rising, whole numbers of pixels.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for thresholds or neighbourhoods that cannot be.
    """

    def __init__(
        self,
        lead_times: Sequence[float],
        thresholds: Sequence[float] = (0.1, 1.0, 5.0),
        pixel_km: float = 1.0,
        neighbourhoods: Sequence[float] = (4.0, 16.0),
        pixels: Pixels = "observed",
    ) -> None:
        super().__init__(lead_times, pixels)
        self.thresholds = event_thresholds(thresholds)
        self.widths = in_pixels(neighbourhoods, pixel_km)
        self.neighbourhoods = tuple(map(float, neighbourhoods))
        size = len(self.lead_times), len(self.widths), len(self.thresholds)
        self.sums = {cell: np.zeros(size, dtype=np.int64) for cell in CELLS}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before counts may be added."""
        own = {"thresholds": self.thresholds, "neighbourhoods": (self.neighbourhoods, self.widths)}
        return {**super().protocol, **own}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """neighbourhood and threshold."""
        blocks = Axis("neighbourhood", self.neighbourhoods, "km", "width of blocks")
        return blocks, threshold_axis(self.thresholds)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Count blocks of (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        tables = [count(pool(judged, width), self.thresholds) for width in self.widths]
        self.add(dict(zip(CELLS, torch.stack(tables, dim=2), strict=True)))

    def variables(self) -> dict[str, Variable]:
        """pooled_csi, pooled_pod, pooled_far and pooled_frequency_bias."""
        scores = table_scores(self.sums)
        return {
            f"pooled_{name}": scores[name]._replace(long_name=f"{scores[name].long_name} of blocks") for name in POOLED
        }


def pool(judged: Judged, width: int) -> Judged:
    """Largest rates of blocks, and which blocks have a judged pixel."""

    def largest(field: torch.Tensor) -> torch.Tensor:
        images = rearrange(field, "b t c h w -> b (t c) h w")
        blocks = F.max_pool2d(images, width, ceil_mode=True)
        return rearrange(blocks, "b (t c) h w -> b t c h w", c=field.shape[2])

    # Rates that are not judged are 0, which is no event and below every rate.
    return Judged(
        forecast=largest(judged.forecast),
        observed=largest(judged.observed),
        known=largest(judged.known.float()) > 0,
        missing=largest(judged.missing.float()) > 0,
    )
