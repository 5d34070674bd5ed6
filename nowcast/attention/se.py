"""Squeeze-and-excitation: channels gated by what the whole map holds.

Hu, Shen, Albanie, Sun and Wu 2018, arXiv 1709.01507.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced

__all__ = ["SqueezeExcitation"]

CARD = Card(
    family="channel",
    paper="Hu et al., Squeeze-and-Excitation Networks",
    source="1709.01507",
    year=2017,
    equation="y = x ⊙ σ(W₂ δ(W₁ GAP(x)))",
    time="O(CN + C²/r)",
    memory="O(C)",
)


class SqueezeExcitation(nn.Module):
    """Gate each channel by a small perceptron of all channel means: y = x ⊙ σ(W₂ δ(W₁ GAP(x))).

    (B, C, H, W) → (B, C, H, W).

    Args:
        channels: C.
        reduction: ratio r of the bottleneck, 16 in the paper.
        bias: whether both layers have a bias, as in the authors' network; ports mostly drop it.
        minimum: least width of the bottleneck.
    """

    def __init__(self, channels: int, *, reduction: int = 16, bias: bool = False, minimum: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.excite = nn.Sequential(
            nn.Linear(channels, width, bias=bias),
            nn.ReLU(),
            nn.Linear(width, channels, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.excite(x.mean(dim=(2, 3)))  # (B, C)
        return x * rearrange(gate, "b c -> b c 1 1")
