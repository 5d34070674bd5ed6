"""Efficient channel attention: channels gated by their neighbours in channel order.

Wang, Wu, Zhu, Li, Zuo and Hu 2020, arXiv 1910.03151.
"""

import math

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.contracts import InputError

__all__ = ["EfficientChannelAttention"]

CARD = Card(
    family="channel",
    paper="Wang et al., ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
    source="1910.03151",
    year=2019,
    equation="y = x ⊙ σ(conv1d_k(GAP(x))), k = |log₂(C)/γ + b/γ| made odd",
    time="O(CN + Ck)",
    memory="O(C)",
)


class EfficientChannelAttention(nn.Module):
    """Gate each channel by a 1-D convolution over the channel means: y = x ⊙ σ(conv1d_k(GAP(x))).

    (B, C, H, W) → (B, C, H, W). The order of channels carries no meaning but what training gives it.

    Args:
        channels: C.
        kernel: odd length k of the convolution; None takes the paper's rule from C, γ and b.
        gamma: γ of that rule.
        offset: b of that rule.
    """

    def __init__(self, channels: int, *, kernel: int | None = None, gamma: float = 2.0, offset: float = 1.0) -> None:
        super().__init__()
        if kernel is None:
            whole = int(abs(math.log2(channels) + offset) / gamma)
            kernel = max(whole if whole % 2 else whole + 1, 3)
        if kernel % 2 == 0:
            raise InputError(f"eca needs an odd kernel, not {kernel}; {kernel - 1} or {kernel + 1} would do")
        self.mix = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = rearrange(x.mean(dim=(2, 3)), "b c -> b 1 c")
        return x * rearrange(torch.sigmoid(self.mix(means)), "b 1 c -> b c 1 1")
