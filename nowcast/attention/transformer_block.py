"""A transformer layer over the pixels of a map: self-attention, then a perceptron of each pixel.

Vaswani, Shazeer, Parmar and others 2017, arXiv 1706.03762.
"""

from typing import Literal

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._tokens import as_map, sinusoids, tokens
from nowcast.attention.self_attention import Positions, SelfAttention
from nowcast.contracts import InputError

__all__ = ["TransformerBlock"]

CARD = Card(
    family="self-attention",
    paper="Vaswani et al., Attention Is All You Need",
    source="1706.03762",
    year=2017,
    equation="z = x + MHSA(LN(x)); y = z + W₂ φ(W₁ LN(z))",
    time="O(CN² + rC²N)",
    memory="O(rCN)",
    note="Norms stand first, as has become usual, not last; dropout is left to the network around it.",
)

Order = Literal["pre", "post"]
Activation = Literal["gelu", "relu"]


class TransformerBlock(nn.Module):
    """Mix pixels by attention, then channels by a perceptron, each with a layer norm and a residual.

    (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        heads: of the attention; None takes what of 8 divides C.
        ratio: hidden width of the perceptron over C, 4 in the paper.
        order: "pre" norms what enters each branch; "post", the paper's, norms each sum.
        activation: φ: "gelu", or the paper's "relu".
        positions: None, or "sinusoidal" codes of row and column added to x.
        key_bias: whether keys have a bias, as in the paper; no softmax over keys can notice it.

    Raises:
        InputError: for heads that do not divide C, or a ratio that leaves no hidden unit.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        ratio: float = 4.0,
        order: Order = "pre",
        activation: Activation = "gelu",
        positions: Positions | None = None,
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(ratio * channels)
        if hidden < 1:
            raise InputError(f"a transformer_block ratio of {ratio} leaves no hidden unit; 4 is usual")
        self.order, self.positions = order, positions
        self.attention = SelfAttention(channels, heads=heads, residual=False, key_bias=key_bias)
        self.perceptron = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU() if activation == "gelu" else nn.ReLU(),
            nn.Linear(hidden, channels),
        )
        self.attention_norm = nn.LayerNorm(channels)
        self.perceptron_norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = tokens(x)
        if self.positions is not None:
            pixels = pixels + sinusoids(x)
        if self.order == "pre":
            pixels = pixels + self._attend(self.attention_norm(pixels))
            pixels = pixels + self.perceptron(self.perceptron_norm(pixels))
        else:
            pixels = self.attention_norm(pixels + self._attend(pixels))
            pixels = self.perceptron_norm(pixels + self.perceptron(pixels))
        return as_map(pixels, like=x)

    def _attend(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.attention.between(pixels, pixels, pixels)
