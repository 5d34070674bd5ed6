"""FcaNet: channels gated by cosine components of the map, of which the mean is only the first.

Qin, Zhang, Wu and Li 2021, arXiv 2012.11879.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._size import rows_and_columns
from nowcast.attention._split import split_into
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["FrequencyChannelAttention"]

CARD = Card(
    family="frequency",
    paper="Qin et al., FcaNet: Frequency Channel Attention Networks",
    source="2012.11879",
    year=2020,
    equation="y = x ⊙ σ(W₂ δ(W₁ [⟨x, DCT_u(c),v(c)⟩ of each channel c]))",
    time="O(CN + C²/r)",
    memory="O(CW)",
    note="The basis is built for the size of each map; the authors pool maps to one size.",
)

Frequencies = Literal["top", "low", "bot"]

# Row and column frequency on a 7 × 7 map, in order of choice: those that do best alone on ImageNet, the
# lowest, and those that do worst.
FREQUENCIES: dict[str, str] = {
    "top": "00 01 60 05 02 10 12 40 50 16 30 04 06 03 35 22 46 63 33 53 55 21 61 52 54 32 31 41 23 20 65 13",
    "low": "00 01 10 11 02 20 21 12 22 03 30 40 04 13 31 05 14 23 32 41 50 06 15 24 33 42 51 60 16 25 34 43",
    "bot": "66 14 34 36 26 43 11 24 44 45 56 15 42 62 25 51 64 13 65 20 23 41 31 32 54 52 61 21 55 53 33 63",
}
GRID = 7


def waves(frequencies: torch.Tensor, length: int, dtype: torch.dtype) -> torch.Tensor:
    """Orthonormal cosines along an axis, one a row: (n,) frequencies on a grid of 7 → (n, length).

    As long as 7 pixels in 7 are, waves keep their length in pixels on longer axes.
    """
    steps = frequencies[:, None] * max(length // GRID, 1)
    places = torch.arange(length, device=frequencies.device, dtype=dtype) + 0.5
    scale = torch.where(steps == 0, 1.0, math.sqrt(2)).to(dtype) / math.sqrt(length)
    return scale * torch.cos(math.pi / length * steps * places)


class FrequencyChannelAttention(nn.Module):
    """Gate each channel by a perceptron of one cosine component of each: y = x ⊙ σ(W₂ δ(W₁ f)).

    (B, C, H, W) → (B, C, H, W). Channels are split evenly over the frequencies, and f of a channel is
    Σ x cos(πu(i + ½)/H) cos(πv(j + ½)/W) with its factors of an orthonormal basis. Frequency (0, 0) alone is
    `se` of the mean times √N.

    Args:
        channels: C.
        frequencies: which: "top", the best on ImageNet, the "low" ones, or "bot", the worst.
        count: how many, 1 to 32, 16 in the paper; None takes what of 16 divides C.
        size: rows and columns that maps are pooled to, as the authors do; None takes maps as they are.
        reduction: ratio r of the bottleneck, 16 in the paper.
        minimum: least width of the bottleneck.

    Raises:
        InputError: for a count that does not divide C or exceeds 32, or an empty size.
    """

    frequencies: torch.Tensor  # (count, 2)

    def __init__(
        self,
        channels: int,
        *,
        frequencies: Frequencies = "top",
        count: int | None = None,
        size: Sequence[int] | None = None,
        reduction: int = 16,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        pairs = FREQUENCIES[frequencies].split()
        count = split_into("fca frequencies", count, 16, channels)
        if count > len(pairs):
            raise InputError(f"fca knows {len(pairs)} frequencies, not {count}")
        self.size = None if size is None else rows_and_columns("fca", size)
        chosen = torch.tensor([[int(row), int(column)] for row, column in map(tuple, pairs[:count])])
        self.register_buffer("frequencies", chosen, persistent=False)
        width = reduced(channels, reduction, minimum)
        self.excite = nn.Sequential(
            nn.Linear(channels, width, bias=False),
            nn.ReLU(),
            nn.Linear(width, channels, bias=False),
            nn.Sigmoid(),
        )

    def components(self, x: torch.Tensor) -> torch.Tensor:
        """Of each channel that of its frequency, (B, C, H, W) → (B, C)."""
        maps = at_least_single(x if self.size is None else F.adaptive_avg_pool2d(x, self.size))
        rows, columns = (
            waves(frequency, length, maps.dtype)
            for frequency, length in zip(self.frequencies.T, maps.shape[2:], strict=True)
        )
        groups = rearrange(maps, "b (f c) h w -> b f c h w", f=len(rows))
        by_column = torch.einsum("b f c h w, f h -> b f c w", groups, rows)
        return torch.einsum("b f c w, f w -> b f c", by_column, columns).flatten(1).to(x.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * rearrange(self.excite(self.components(x)), "b c -> b c 1 1")
