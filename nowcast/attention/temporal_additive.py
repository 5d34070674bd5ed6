"""Additive attention over time: the frames of a sequence averaged by how well they suit the last one.

Bahdanau, Cho and Bengio 2015, arXiv 1409.0473.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._additive import Activation, AdditiveScore
from nowcast.attention._card import Card

__all__ = ["TemporalAdditiveAttention"]

CARD = Card(
    family="temporal",
    paper="Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate",
    source="1409.0473",
    year=2014,
    equation="y = Σₜ softmax_T(vᵀ tanh(W xₜ + U x_T)) xₜ",
    time="O(TCAN), A hidden units; pooled O(TCN + TCA)",
    memory="O(T(A + C)N); pooled O(TA)",
    shape="BTCHW→BCHW",
    note="The query is the last frame, where the paper has the state of a decoder; `attend` takes any.",
)


class TemporalAdditiveAttention(nn.Module):
    """Average the frames of a sequence by a small perceptron's score of each beside the last.

    (B, T, C, H, W) → (B, C, H, W). y = Σₜ αₜ xₜ, α = softmax_T(vᵀ tanh(W xₜ + U x_T)), at each pixel by itself
    or with one α for the whole map. Frames are told apart by what they hold alone, not by when they were.

    Args:
        channels: C.
        width: A of the hidden layer; None takes C.
        activation: "tanh" as in the paper, or "relu" as in ports for image captions.
        pooled: whether maps are averaged for their scores, so that a frame has one weight everywhere.
        score_bias: whether v has a bias, as in ports; the softmax cannot notice it.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int | None = None,
        activation: Activation = "tanh",
        pooled: bool = False,
        score_bias: bool = False,
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.score = AdditiveScore(channels, width, activation, score_bias)

    def attend(self, keys: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """The average of keys as they suit a query: (…, T, C) and (…, C) → (…, C)."""
        weights = self.score(keys, query).softmax(dim=-1)
        return torch.einsum("...t, ...tc -> ...c", weights, keys)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pooled:
            means = x.mean(dim=(3, 4))
            weights = self.score(means, means[:, -1]).softmax(dim=1)
            return torch.einsum("bt, btchw -> bchw", weights, x)
        pixels = rearrange(x, "b t c h w -> b h w t c")
        return rearrange(self.attend(pixels, pixels[..., -1, :]), "b h w c -> b c h w")
