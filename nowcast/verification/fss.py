"""How far must one look before the rain forecast is about right: the fractions skill score.

Roberts and Lean 2008, doi:10.1175/2007MWR2123.1; integral images as Faggian et al. 2015, doi:10.54302/mausam.v66i3.555.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from nowcast.verification._events import event_thresholds, reaches, threshold_axis
from nowcast.verification._pixels import Pixels
from nowcast.verification._scales import in_pixels
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable, by_lead_time, share

__all__ = ["FractionsSkill"]


class FractionsSkill(SumsByLeadTime):
    """Compares how many pixels of a window have an event, forecast f and observed o, in windows of several widths.

    FSS = 1 − Σ(f − o)² / Σ(f² + o²) over windows around all pixels and all cases together; NaN where no event
    was forecast or observed. Pixels that are not judged, or beyond the border, count as dry in both fields,
    which makes a window weigh by the square of its judged share. A forecast is called useful from the scale
    where FSS passes 0.5 + half the observed share of events (`fss_useful`).

    Args:
        lead_times: minutes, rising, one for each of T_out.
        thresholds: mm/h, positive and rising.
        pixel_km: width of a pixel.
        scales: widths of windows in km, rising, whole numbers of pixels.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for thresholds or scales that cannot be.
    """

    def __init__(
        self,
        lead_times: Sequence[float],
        thresholds: Sequence[float] = (0.1, 1.0, 5.0),
        pixel_km: float = 1.0,
        scales: Sequence[float] = (1.0, 5.0, 15.0, 45.0),
        pixels: Pixels = "observed",
    ) -> None:
        super().__init__(lead_times, pixels)
        self.thresholds = event_thresholds(thresholds)
        self.widths = in_pixels(scales, pixel_km)
        self.scales = tuple(map(float, scales))
        times, rates = len(self.lead_times), len(self.thresholds)
        self.sums = {name: np.zeros((times, len(self.widths), rates)) for name in ("(f−o)²", "f²+o²")}
        self.sums |= {"events": np.zeros((times, rates), dtype=np.int64), "judged": np.zeros(times, dtype=np.int64)}

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "thresholds": self.thresholds, "scales": (self.scales, self.widths)}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """scale and threshold."""
        return Axis("scale", self.scales, "km", "width of windows"), threshold_axis(self.thresholds)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum over windows of (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        self.sums["judged"] += by_lead_time(judged.known).numpy()
        for k, threshold in enumerate(self.thresholds):
            expected, occurred = (integral(reaches(rate, threshold)) for rate in judged[:2])
            self.sums["events"][:, k] += by_lead_time(reaches(judged.observed, threshold)).numpy()
            for (s, width), step in product(enumerate(self.widths), range(len(self.lead_times))):
                # Whole numbers of pixels, not shares, so that sums are exact in any order.
                f, o = (in_windows(events[:, step], width).double().flatten() for events in (expected, occurred))
                squares = (f @ f + o @ o).item()
                self.sums["f²+o²"][step, s, k] += squares
                self.sums["(f−o)²"][step, s, k] += squares - 2 * (f @ o).item()

    def variables(self) -> dict[str, Variable]:
        """fss, and fss_useful by lead time and threshold."""
        events = share(self.sums["events"], self.sums["judged"][:, None])
        return {
            "fss": Variable(1 - share(self.sums["(f−o)²"], self.sums["f²+o²"]), "1", "fractions skill score"),
            "fss_useful": Variable(0.5 + events / 2, "1", "least useful fractions skill score", ("threshold",)),
        }


def integral(events: torch.Tensor) -> torch.Tensor:
    """How many events are above and left of each corner of pixels, (…, H, W) bool → (…, H + 1, W + 1) int32."""
    columns = events.cumsum(dim=-1, dtype=torch.int32)
    return F.pad(columns.cumsum(dim=-2, dtype=torch.int32), (1, 0, 1, 0))


def in_windows(integrated: torch.Tensor, width: int) -> torch.Tensor:
    """Events in the window around each pixel, cut at the border; even widths reach one pixel further up and left."""
    for axis in (-2, -1):
        length = integrated.shape[axis] - 1
        first = torch.arange(length, device=integrated.device) - width // 2
        low, high = first.clamp(0, length), (first + width).clamp(0, length)
        integrated = integrated.index_select(axis, high) - integrated.index_select(axis, low)
    return integrated
