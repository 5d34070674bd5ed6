"""Self-attention along the rows or the columns of a map, what axial_row, axial_col, axial and tri_axial share."""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, attend, sinusoids
from nowcast.attention._width import reduced

Positions = Literal["sinusoidal"]
Line = Literal["row", "column"]

# Lines take the place of samples, and the pixels of a line that of tokens.
CUT = {"row": "b c h w -> (b h) w c", "column": "b c h w -> (b w) h c"}
JOIN = {"row": "(b h) w c -> b c h w", "column": "(b w) h c -> b c h w"}


class LineAttention(nn.Module):
    """Add to every pixel an average of the pixels of its line by query and key: y = x + γ softmax(QKᵀ) V.

    (B, C, H, W) → (B, C, H, W). γ starts at 0.

    Args:
        line: which lines, "row" or "column".
        channels: C.
        heads: number of heads; it divides C.
        reduction: ratio of C to the width of queries and keys, which is made divisible by the heads.
        positions: None, or "sinusoidal" codes added to the pixels that queries and keys are made of.
        key_bias: whether keys have a bias.
    """

    def __init__(
        self,
        line: Line,
        channels: int,
        heads: int,
        reduction: int,
        positions: Positions | None,
        key_bias: bool,
    ) -> None:
        super().__init__()
        self.line, self.positions = line, positions
        self.heads = split_into(f"axial heads of a {line}", heads, 1, channels)
        width = heads * max(reduced(channels, reduction, minimum=1) // heads, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width, bias=key_bias)
        self.value = nn.Linear(channels, channels)

    def correction(self, x: torch.Tensor) -> torch.Tensor:
        """γ softmax(QKᵀ) V, what is added to a map: (B, C, H, W) → (B, C, H, W)."""
        pixels = placed = rearrange(x, CUT[self.line]).contiguous()
        if self.positions is not None:
            placed = rearrange(x + as_map(sinusoids(x).unsqueeze(0), like=x), CUT[self.line])
        average = attend(self.query(placed), self.key(placed), self.value(pixels), scale=1.0, heads=self.heads)
        return self.gamma * rearrange(average, JOIN[self.line], b=x.shape[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.correction(x)
