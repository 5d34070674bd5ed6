"""Scores of an additive attention, what temporal_additive, soft_spatial and hard_spatial have in common."""

from typing import Literal

import torch
from torch import nn

Activation = Literal["tanh", "relu"]


class AdditiveScore(nn.Module):
    """How well keys suit a query: vᵀ tanh(W k + U q), with biases in W and U.

    Args:
        channels: of keys and queries.
        width: of the hidden layer; None takes `channels`.
        activation: "tanh", or "relu".
        bias: whether v has a bias, which a softmax of the scores cannot notice.
    """

    def __init__(self, channels: int, width: int | None, activation: Activation, bias: bool) -> None:
        super().__init__()
        width = channels if width is None else width
        self.key = nn.Linear(channels, width)
        self.query = nn.Linear(channels, width)
        self.score = nn.Linear(width, 1, bias=bias)
        self.activate = nn.Tanh() if activation == "tanh" else nn.ReLU()

    def forward(self, keys: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Keys (…, N, C) and one query for all of them (…, C) → scores (…, N)."""
        hidden = self.activate(self.key(keys) + self.query(query).unsqueeze(-2))
        return self.score(hidden).squeeze(-1)
