"""Multi-head self-attention: every pixel averages all pixels by how well their keys meet its query.

Vaswani, Shazeer, Parmar and others 2017, arXiv 1706.03762.
"""

from typing import Literal

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, attend, sinusoids, tokens

__all__ = ["SelfAttention"]

CARD = Card(
    family="self-attention",
    paper="Vaswani et al., Attention Is All You Need",
    source="1706.03762",
    year=2017,
    equation="y = x + W_o [softmax(Q₁K₁ᵀ/√d) V₁; …; softmax(QₕKₕᵀ/√d) Vₕ]",
    time="O(CN² + C²N)",
    memory="O(CN)",
    note="Tokens are pixels. Without positions it cannot tell one arrangement of the pixels from another.",
)

Positions = Literal["sinusoidal"]


class SelfAttention(nn.Module):
    """Let every pixel attend to all pixels, in several heads: y = x + W_o [softmax(QKᵀ/√d) V of each head].

    (B, C, H, W) → (B, C, H, W). The N × N weights are never held as a whole.

    Args:
        channels: C.
        heads: number of heads, each d = C / heads wide; None takes what of 8, the paper's, divides C.
        positions: None, or "sinusoidal" codes of row and column added to the pixels that attend.
        residual: whether x is added.
        key_bias: whether keys have a bias, as in the paper; no softmax over keys can notice it.

    Raises:
        InputError: for heads that do not divide C.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        positions: Positions | None = None,
        residual: bool = True,
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        self.heads = split_into("self_attention heads", heads, 8, channels)
        self.positions, self.residual = positions, residual
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=key_bias)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)

    def between(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The same for tokens from anywhere, nothing added: (B, N, C), (B, M, C), (B, M, C) → (B, N, C)."""
        scale = (queries.shape[2] // self.heads) ** -0.5
        queries, keys, values = self.query(queries), self.key(keys), self.value(values)
        return self.project(attend(queries, keys, values, scale=scale, heads=self.heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = tokens(x)
        if self.positions is not None:
            pixels = pixels + sinusoids(x)
        y = as_map(self.between(pixels, pixels, pixels), like=x)
        return x + y if self.residual else y
