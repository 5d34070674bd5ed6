"""Channel attention of the dual attention network: channels mixed by how they overlap on the map.

Fu, Liu, Tian, Li, Bao, Fang and Lu 2019, arXiv 1809.02983.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single

__all__ = ["ChannelAttention"]

CARD = Card(
    family="channel",
    paper="Fu et al., Dual Attention Network for Scene Segmentation",
    source="1809.02983",
    year=2018,
    equation="y = x + γ softmax(XXᵀ) X, X = x as (C, N)",
    time="O(C²N)",
    memory="O(C² + CN)",
    note="The released code (form='code') has softmax(max − XXᵀ), which mixes the least alike channels.",
)

Form = Literal["paper", "code"]
Divisor = Literal["root", "pixels"]


class ChannelAttention(nn.Module):
    """Add to every channel an average of all channels by their product: y = x + γ softmax(XXᵀ) X.

    (B, C, H, W) → (B, C, H, W), X = x as (C, N). γ, all there is to learn, starts at 0, so y = x at first.

    Args:
        channels: C.
        form: "paper", or "code" for the released network's softmax of row maximum − XXᵀ.
        divisor: of XXᵀ: None, as in the paper; "root" for √N, or "pixels" for N. XXᵀ is a sum over N pixels,
            and undivided its softmax on a large map is all but one channel: in the paper's form itself.
    """

    def __init__(self, channels: int, *, form: Form = "paper", divisor: Divisor | None = None) -> None:
        super().__init__()
        self.sign = 1 if form == "paper" else -1  # a softmax does not notice the maximum
        self.power = {None: 0.0, "root": -0.5, "pixels": -1.0}[divisor]
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = rearrange(x, "b c h w -> b c (h w)")
        scale = self.sign * rows.shape[2] ** self.power
        # Logits are sums over all pixels: half precision, that of autocast too, rounds them to whole units.
        with torch.autocast(x.device.type, enabled=False):
            exact = at_least_single(rows)
            weights = (scale * exact @ exact.mT).softmax(dim=2)
        context = rearrange(weights.to(x.dtype) @ rows, "b c (h w) -> b c h w", h=x.shape[2])
        return x + self.gamma * context
