"""Self-attention without projections to queries, keys and values: pixels attend by their likeness.

From the collection External-Attention-pytorch, after Vaswani and others 2017, arXiv 1706.03762.
"""

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, attend, tokens

__all__ = ["SimplifiedSelfAttention"]

CARD = Card(
    family="self-attention",
    paper="Vaswani et al., Attention Is All You Need",
    source="1706.03762",
    year=2017,
    equation="y = x + W_o [softmax(x₁x₁ᵀ/√d) x₁; …; softmax(xₕxₕᵀ/√d) xₕ]",
    time="O(CN² + C²N)",
    memory="O(CN)",
    note="No paper has it. Most weight of a pixel is on itself and its like: it smooths within groups.",
)


class SimplifiedSelfAttention(nn.Module):
    """Average pixels by likeness in each group of channels: y = x + W_o [softmax(xxᵀ/√d) x of each head].

    (B, C, H, W) → (B, C, H, W). Only W_o is learnt; the N × N weights are never held as a whole.

    Args:
        channels: C.
        heads: number of heads, each d = C / heads wide; None takes what of 8 divides C.
        residual: whether x is added.

    Raises:
        InputError: for heads that do not divide C.
    """

    def __init__(self, channels: int, *, heads: int | None = None, residual: bool = True) -> None:
        super().__init__()
        self.heads = split_into("simplified_self_attention heads", heads, 8, channels)
        self.residual = residual
        self.project = nn.Linear(channels, channels)

    def between(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The same for tokens from anywhere, nothing added: (B, N, C), (B, M, C), (B, M, C) → (B, N, C)."""
        scale = (queries.shape[2] // self.heads) ** -0.5
        return self.project(attend(queries, keys, values, scale=scale, heads=self.heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = tokens(x)
        y = as_map(self.between(pixels, pixels, pixels), like=x)
        return x + y if self.residual else y
