"""Self-attention along time: every pixel of every frame averages the frames at its place.

Vaswani, Shazeer, Parmar and others 2017, arXiv 1706.03762; axial, as in Ho et al. 2019, arXiv 1912.12180.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.attention._tokens import attend, waves

__all__ = ["TemporalSelfAttention"]

CARD = Card(
    family="temporal",
    paper="Vaswani et al., Attention Is All You Need",
    source="1706.03762",
    year=2017,
    equation="yₜ = W_o [softmax_T(qₜKᵀ/√d) V of each head] at each pixel",
    time="O(TC²N + T²CN)",
    memory="O(TCN)",
    shape="BTCHW",
    note="Pixels do not mix. Without positions it cannot tell one order of the frames from another.",
)

Positions = Literal["sinusoidal"]


class TemporalSelfAttention(nn.Module):
    """Let every frame attend to all frames, or to those before it, at each pixel by itself.

    (B, T, C, H, W) → (B, T, C, H, W). yₜ = W_o [softmax_T(qₜKᵀ/√d) V of each head], with queries, keys and values
    linear in the T values of one pixel. Any number of frames will do.

    Args:
        channels: C.
        heads: number of heads, each d = C / heads wide; None takes what of 8, the paper's, divides C.
        causal: whether a frame sees only itself and those before it.
        positions: None, or "sinusoidal" codes of the frame's number added to what attends, as in the paper.
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
        causal: bool = False,
        positions: Positions | None = "sinusoidal",
        residual: bool = True,
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        self.heads = split_into("temporal_self_attention heads", heads, 8, channels)
        self.causal, self.positions, self.residual = causal, positions, residual
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=key_bias)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, frames, channels, height, width = x.shape
        rows = rearrange(x, "b t c h w -> (b h w) t c")
        if self.positions is not None:
            rows = rows + waves(frames, -(-channels // 2), like=x)[:, :channels]
        queries, keys, values = self.query(rows), self.key(rows), self.value(rows)
        scale = (channels // self.heads) ** -0.5
        y = self.project(attend(queries, keys, values, scale=scale, heads=self.heads, causal=self.causal))
        y = rearrange(y, "(b h w) t c -> b t c h w", h=height, w=width)
        return x + y if self.residual else y
