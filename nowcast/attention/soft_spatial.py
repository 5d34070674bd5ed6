"""Soft attention of a captioner: the map averaged by how well each pixel suits a state, and told the average.

Xu, Ba, Kiros and others 2015, arXiv 1502.03044.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._additive import Activation, AdditiveScore
from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._tokens import tokens

__all__ = ["SoftSpatialAttention"]

CARD = Card(
    family="origin",
    paper="Xu et al., Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
    source="1502.03044",
    year=2015,
    equation="y = x + β Σₙ αₙ xₙ, α = softmax_N(vᵀ tanh(W xₙ + U x̄)), β = σ(w x̄)",
    time="O(CAN), A hidden units",
    memory="O((A + C)N)",
    note="The state that asks is the map's mean x̄, where the paper has that of a decoder.",
)

Gate = Literal["scalar", "vector"]


class SoftSpatialAttention(nn.Module):
    """Add to every pixel a weighted mean of all: y = x + β Σₙ αₙ xₙ, α = softmax_N(vᵀ tanh(W xₙ + U x̄)).

    (B, C, H, W) → (B, C, H, W). Pixels are scored beside the map's mean x̄, which also gives β = σ(w x̄), how
    much the weighted mean counts.

    Args:
        channels: C.
        width: A of the hidden layer; None takes C. 512 in the paper.
        activation: "tanh", or "relu" as in ports.
        gate: "scalar" β as in the paper, or "vector", one a channel, as in ports.
        score_bias: whether v has a bias, as in ports; the softmax cannot notice it.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int | None = None,
        activation: Activation = "tanh",
        gate: Gate = "scalar",
        score_bias: bool = False,
    ) -> None:
        super().__init__()
        self.score = AdditiveScore(channels, width, activation, score_bias)
        self.gate = nn.Linear(channels, 1 if gate == "scalar" else channels)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Of each pixel, in full precision: (B, C, H, W) → (B, N)."""
        return at_least_single(self.score(tokens(x), x.mean(dim=(2, 3))))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """α, which sums to 1 over the map: (B, C, H, W) → (B, 1, H, W)."""
        return rearrange(self.scores(x).softmax(dim=1), "b (h w) -> b 1 h w", h=x.shape[2])

    def penalty(self, x: torch.Tensor) -> torch.Tensor:
        """Σₙ (1 − Σₜ αₜₙ)² for frames (B, T, C, H, W), (B,): 0 where in time each pixel gets as much as any.

        The paper adds it to its loss, so that in the end nothing is left out ("doubly stochastic attention").
        """
        weights = self.weights(rearrange(x, "b t c h w -> (b t) c h w")).unflatten(0, x.shape[:2])
        return (1 - weights.sum(dim=1)).square().sum(dim=(1, 2, 3))

    def shares(self, scores: torch.Tensor) -> torch.Tensor:
        """What of each pixel is taken, by its score, (B, N)."""
        return scores.softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = self.shares(self.scores(x)).to(x.dtype)
        context = torch.einsum("bn, bcn -> bc", shares, x.flatten(2))
        context = torch.sigmoid(self.gate(x.mean(dim=(2, 3)))) * context
        return x + rearrange(context, "b c -> b c 1 1")
