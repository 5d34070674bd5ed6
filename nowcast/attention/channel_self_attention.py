"""Channel self-attention: every channel becomes a mixture of those that it is like.

The projected form of Fang's survey code; without projections it is DANet's, Fu and others 2018.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single

__all__ = ["ChannelSelfAttention"]

CARD = Card(
    family="channel",
    paper="Fang, Meteorology_FZL (survey of attention, Self_Attn_Channel)",
    source="github.com/fangzuliang/Meteorology_FZL",
    year=2020,
    equation="y = x + γ softmax_C(Q Kᵀ/√N) V",
    time="O(C²N)",
    memory="O(CN + C²)",
    note="The survey's logits are not scaled and its skip is projected; see `scaled` and `projected_skip`.",
)


class ChannelSelfAttention(nn.Module):
    """Attend from channels to channels, by products of their maps: y = x + γ softmax_C(Q Kᵀ/√N) V.

    (B, C, H, W) → (B, C, H, W). Q, K and V are C rows of length N from 1×1 convolutions. The identity at
    first, as γ is 0.

    Args:
        channels: C.
        scaled: whether logits are divided by √N. The survey's are not, and grow with the map until each row
            of weights has a single 1.
        projected_skip: whether γ's term is added to a 1×1 convolution of x, as in the survey, not to x.
    """

    def __init__(self, channels: int, *, scaled: bool = True, projected_skip: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.skip = nn.Conv2d(channels, channels, 1) if projected_skip else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            rearrange(project(x), "b c h w -> b c (h w)") for project in (self.query, self.key, self.value)
        )
        # Scaled before the product, which half precision may not hold.
        scale = query.shape[2] ** -0.5 if self.scaled else 1.0
        logits = at_least_single(query) * scale @ at_least_single(key).mT  # (B, C, C)
        context = logits.softmax(dim=2).to(value.dtype) @ value
        return self.skip(x) + self.gamma * context.unflatten(2, x.shape[2:])
