"""The critical success index made differentiable: intersection over union of soft rain areas.

The soft intersection over union of segmentation (Rahman and Wang 2016, doi 10.1007/978-3-319-50835-1_22), with
thresholds on rain rate.
"""

from collections.abc import Sequence

import torch

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss
from nowcast.scaling import DBZ_PER_UNIT, scale


class SoftCSI(Loss):
    """1 − CSI, averaged over thresholds and lead times, with hits counted by degrees.

    A forecast pixel is in the rain area by p = sigmoid((dBZ − threshold) / width_db), an observed one by o = 0 or 1
    (event: rate ≥ threshold). CSI = Σ p·o / Σ (p + o − p·o), pooled over the known pixels of the batch at each lead
    time. Where nothing is observed the loss falls with the false alarms, to 0 when there are none.

    Args:
        thresholds: rates in mm/h.
        width_db: softness of the threshold in dB; gradients reach a few times as far.
    """

    _edges: torch.Tensor

    def __init__(self, thresholds: Sequence[float] = (1, 5, 10), width_db: float = 2.0) -> None:
        super().__init__()
        if not thresholds or min(thresholds) <= 0 or width_db <= 0:
            raise InputError(f"SoftCSI needs thresholds and a width above 0, not {thresholds} and {width_db}")
        self.width = width_db / DBZ_PER_UNIT
        self.register_buffer("_edges", scale(torch.tensor([float(t) for t in thresholds]))[0], persistent=False)

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        losses = []
        for edge in self._edges:
            soft = torch.where(known, torch.sigmoid((predicted - edge) / self.width), 0.0)
            event = known & (target >= edge)
            hits = torch.where(event, soft, 0.0).sum(dim=(0, 2, 3, 4))  # (T,)
            union = soft.sum(dim=(0, 2, 3, 4)) + event.sum(dim=(0, 2, 3, 4)) - hits
            losses.append(1 - (hits + 1) / (union + 1))  # one pixel on both sides: no rain at all is a perfect score
        return torch.stack(losses).mean()
