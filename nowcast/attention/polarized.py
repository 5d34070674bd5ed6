"""Polarized self-attention: channels and positions gated apart, each at full resolution.

Liu, Liu, Fan and Huang 2021, arXiv 2107.00782.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card

__all__ = ["PolarizedSelfAttention"]

CARD = Card(
    family="mixed",
    paper="Liu et al., Polarized Self-Attention: Towards High-quality Pixel-wise Regression",
    source="2107.00782",
    year=2021,
    equation="y = x ⊙ σ(LN W_z (W_v x · softmax_N(W_q x))) + x ⊙ σ(softmax_C(GAP W_q' x) · W_v' x)",
    time="O(C²N)",
    memory="O(CN)",
    note="The released code (form='code') differs; its parallel gate of positions is nearly 1/2 all over.",
)

Order = Literal["parallel", "sequential"]
Form = Literal["paper", "code"]


class ChannelGate(nn.Module):
    """σ of a transform of the values summed over positions: (B, C, H, W) → (B, C, 1, 1)."""

    def __init__(self, channels: int, order: Order, form: Form, bias: bool) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.project = projections(form, channels, query=1, value=inner, bias=bias)
        self.transform = nn.Sequential(nn.Linear(inner, channels, bias=bias))
        if form == "paper":
            self.transform.append(nn.LayerNorm(channels))
        elif order == "sequential":
            narrow = max(inner // 4, 1)
            self.transform = nn.Sequential(
                nn.Linear(inner, narrow), nn.LayerNorm(narrow), nn.ReLU(), nn.Linear(narrow, channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = rearrange(self.project["query"](x), "b 1 h w -> b (h w) 1").softmax(dim=1)
        value = rearrange(self.project["value"](x), "b v h w -> b v (h w)")
        context = rearrange(value @ query, "b v 1 -> b v")
        return rearrange(torch.sigmoid(self.transform(context)), "b c -> b c 1 1")


class PositionGate(nn.Module):
    """σ of each position's value weighted by a query of the whole map: (B, C, H, W) → (B, 1, H, W)."""

    def __init__(self, channels: int, order: Order, form: Form, bias: bool) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.project = projections(form, channels, query=inner, value=inner, bias=bias)
        self.over = "channels" if form == "paper" else "product" if order == "parallel" else "positions"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = rearrange(self.project["query"](x).mean(dim=(2, 3)), "b q -> b 1 q")
        value = rearrange(self.project["value"](x), "b v h w -> b v (h w)")
        if self.over == "channels":
            query = query.softmax(dim=2)
        elif self.over == "positions":
            value = value.softmax(dim=2)
        logits = query @ value
        if self.over == "product":
            logits = logits.softmax(dim=2)
        return rearrange(torch.sigmoid(logits), "b 1 (h w) -> b 1 h w", h=x.shape[2])


def projections(form: Form, channels: int, query: int, value: int, bias: bool) -> nn.ModuleDict:
    """1×1 convolutions to queries and values, in the order that the form publishes them."""
    widths = {"value": value, "query": query} if form == "paper" else {"query": query, "value": value}
    return nn.ModuleDict({name: nn.Conv2d(channels, width, 1, bias=bias) for name, width in widths.items()})


class PolarizedSelfAttention(nn.Module):
    """Gate channels by what one learnt query finds on the map, positions by what the map's mean asks of them.

    (B, C, H, W) → (B, C, H, W). Channel gate: values of width C/2 are summed over positions with weights
    softmax_N(query), brought back to C and normed, then σ. Position gate: values of width C/2 are summed over
    their channels with weights softmax_C(mean query), then σ. No step has more than CN values.

    Args:
        channels: C.
        order: "parallel" adds both gated maps; "sequential" gates the channels, then the positions of that.
        form: "paper", or "code" for the released networks. There the channel gate has no norm (sequential: a
            bottleneck of C/8 with layer norm and ReLU) and the position gate a softmax over positions, of
            the product (sequential: of the values), which leaves it close to 1/2.
        bias: whether the 1×1 convolutions have biases, as in ports; the authors' have none. That of the
            channel query can have no effect, as a softmax ignores what all positions share.
    """

    def __init__(self, channels: int, *, order: Order = "parallel", form: Form = "paper", bias: bool = False) -> None:
        super().__init__()
        self.order = order
        self.channel = ChannelGate(channels, order, form, bias)
        self.position = PositionGate(channels, order, form, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.order == "parallel":
            return x * (self.channel(x) + self.position(x))
        y = x * self.channel(x)
        return y * self.position(y)
