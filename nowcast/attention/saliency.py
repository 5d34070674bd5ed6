"""Saliency: what differs from its surroundings in brightness or in direction stands out, with nothing learnt.

Itti, Koch and Niebur 1998, IEEE TPAMI 20(11).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.contracts import InputError

__all__ = ["Saliency"]

CARD = Card(
    family="origin",
    paper="Itti et al., A Model of Saliency-Based Visual Attention for Rapid Scene Analysis",
    source="10.1109/34.730558",
    year=1998,
    equation="y = x ⊙ (1 + S), S = ½ N(Σ N(|I(c) − I(s)|)) + ½ N(Σ_θ N(Σ N(|O_θ(c) − O_θ(s)|)))",
    time="O(CN)",
    memory="O(CN)",
    note="Brightness is the mean of the channels; there is no colour. Maps are summed at the finest centre. The scan "
    "from one salient place to the next is not here.",
)


def gabor_filters(size: int = 9, wavelength: float = 7.0) -> torch.Tensor:
    """Even and odd filters, blind to brightness, of waves along 0°, 45°, 90° and 135°: (8, 1, size, size)."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.exp(-(rows**2 + columns**2) / (2 * (wavelength / 3) ** 2))
    diagonal = math.sqrt(0.5)
    filters = []
    for along, across in ((1, 0), (diagonal, diagonal), (0, 1), (-diagonal, diagonal)):
        phase = 2 * math.pi / wavelength * (along * columns + across * rows)
        for wave in (phase.cos(), phase.sin()):
            weights = window * (wave - (window * wave).sum() / window.sum())
            filters.append(weights / weights.norm())
    return torch.stack(filters).unsqueeze(1).float()


def halved(x: torch.Tensor) -> torch.Tensor:
    """The next level of a pyramid, blurred by [1 4 6 4 1]/16 along both axes, of ⌈H/2⌉ × ⌈W/2⌉ pixels."""
    taps = x.new_tensor([1, 4, 6, 4, 1]) / 16
    blurred = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), torch.outer(taps, taps)[None, None])
    return F.adaptive_avg_pool2d(blurred, (-(-x.shape[2] // 2), -(-x.shape[3] // 2)))


def resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear")


def promoted(x: torch.Tensor) -> torch.Tensor:
    """N: each map from 0 to 1, times (1 − m)², m the mean of its peaks but for the highest: one wins, many lose."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    x = (x - low) / (high - low).clamp_min(1e-4)
    # Lower ones are noise between peaks, of which there is no end, as the authors' later toolbox has it.
    peaks = (x == F.max_pool2d(x, 3, stride=1, padding=1)) & (x > 0.1)
    others = (x * peaks).sum(dim=(2, 3), keepdim=True) - x.amax(dim=(2, 3), keepdim=True)
    mean = others / (peaks.sum(dim=(2, 3), keepdim=True) - 1).clamp_min(1)
    return x * (1 - mean) ** 2


class Saliency(nn.Module):
    """Multiply the map by 1 + S, S what stands out from around it: bright or dark spots, edges of odd direction.

    (B, C, H, W) → (B, C, H, W), no weights. Of the channels' mean, put between 0 and 1, a pyramid of halved maps is
    made, and of each level the strength of waves in four directions θ. A centre at level c is compared with its
    surroundings at level s = c + δ. Maps are promoted by N where one peak stands out, and damped where many do,
    then summed over scales and over directions.

    Args:
        channels: C, which may be any.
        centres: levels c, 2 to 4 in the paper; level l has pixels 2ˡ times as wide.
        deltas: steps δ from centre to surroundings, 3 and 4 in the paper.
        residual: whether the factor is 1 + S, or S alone.

    Raises:
        InputError: for no or negative levels, or a step below 1.
    """

    filters: torch.Tensor

    def __init__(
        self,
        channels: int,
        *,
        centres: Sequence[int] = (2, 3, 4),
        deltas: Sequence[int] = (3, 4),
        residual: bool = True,
    ) -> None:
        super().__init__()
        if not centres or not deltas or min(centres) < 0 or min(deltas) < 1:
            raise InputError(
                "saliency needs centres from 0 and deltas from 1, such as 2, 3, 4 and 3, 4, "
                f"not {tuple(centres)} and {tuple(deltas)}"
            )
        self.centres, self.deltas, self.residual = tuple(centres), tuple(deltas), residual
        self.register_buffer("filters", gabor_filters(), persistent=False)

    def saliency(self, x: torch.Tensor) -> torch.Tensor:
        """S, between 0 and 1, in full precision: (B, C, H, W) → (B, 1, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            level = reduce(at_least_single(x), "b c h w -> b 1 h w", "mean")
            low, high = level.amin(dim=(2, 3), keepdim=True), level.amax(dim=(2, 3), keepdim=True)
            pyramid = [(level - low) / (high - low).clamp_min(torch.finfo(level.dtype).tiny)]
            for _ in range(max(self.centres) + max(self.deltas)):
                pyramid.append(halved(pyramid[-1]))
            brightness = self._contrast(pyramid)
            directions = promoted(self._contrast([self._waves(level) for level in pyramid]))
            conspicuous = torch.cat([brightness, directions.sum(dim=1, keepdim=True)], dim=1)
            return resized(promoted(conspicuous).mean(dim=1, keepdim=True), like=x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        salient = self.saliency(x).to(x.dtype)
        return x * (1 + salient) if self.residual else x * salient

    def _waves(self, level: torch.Tensor) -> torch.Tensor:
        """Strength of waves in each direction: (B, 1, H, W) → (B, 4, H, W)."""
        around = self.filters.shape[3] // 2
        padded = F.pad(level, (around,) * 4, mode="replicate")
        phases = F.conv2d(padded, self.filters.to(level.dtype)).abs()
        return reduce(phases, "b (direction phase) h w -> b direction h w", "sum", phase=2)

    def _contrast(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Σ N(|centre − surroundings|), as large as the finest centre."""
        finest = pyramid[min(self.centres)]
        return sum(
            (
                resized(promoted((pyramid[c] - resized(pyramid[c + delta], like=pyramid[c])).abs()), like=finest)
                for c in self.centres
                for delta in self.deltas
            ),
            torch.zeros_like(finest),
        )
