"""Convolutional block attention module: which channels, then which places.

Woo, Park, Lee and Kweon 2018, arXiv 1807.06521.
"""

from typing import Literal

import torch
from einops import rearrange, reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["ConvolutionalBlockAttention"]

CARD = Card(
    family="mixed",
    paper="Woo et al., CBAM: Convolutional Block Attention Module",
    source="1807.06521",
    year=2018,
    equation="x' = x ⊙ σ(MLP(GAP x) + MLP(GMP x)); y = x' ⊙ σ(conv₇([max_C x'; mean_C x']))",
    time="O(CN + C²/r + k²N)",
    memory="O(C + N)",
)

Pool = Literal["avg", "max", "lse"]


class ChannelGate(nn.Module):
    """σ of one perceptron applied to several global poolings and summed: (B, C, H, W) → (B, C, 1, 1)."""

    def __init__(self, channels: int, width: int, pools: tuple[Pool, ...], bias: bool) -> None:
        super().__init__()
        self.pools = pools
        self.perceptron = nn.Sequential(
            nn.Linear(channels, width, bias=bias), nn.ReLU(), nn.Linear(width, channels, bias=bias)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = {
            "avg": lambda: x.mean(dim=(2, 3)),
            "max": lambda: x.amax(dim=(2, 3)),
            "lse": lambda: x.flatten(2).logsumexp(dim=2),
        }
        logits = sum(self.perceptron(pooled[pool]()) for pool in self.pools)
        return rearrange(torch.sigmoid(logits), "b c -> b c 1 1")


class SpatialGate(nn.Module):
    """σ of a convolution over the channels' maximum and mean: (B, C, H, W) → (B, 1, H, W)."""

    def __init__(self, kernel: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        planes = torch.cat([reduce(x, "b c h w -> b 1 h w", how) for how in ("max", "mean")], dim=1)
        return torch.sigmoid(self.norm(self.conv(planes)))


class ConvolutionalBlockAttention(nn.Module):
    """Gate channels by global pools, then positions by a convolution over channel pools.

    (B, C, H, W) → (B, C, H, W). Planes enter the convolution as [max, mean], the authors' order.

    Args:
        channels: C.
        reduction: ratio r of the channel bottleneck, 16 in the paper.
        kernel: odd size of the spatial convolution, 7 in the paper.
        order: "channel_spatial" (the paper's best), "spatial_channel" or "parallel" (both gates from x).
        parts: "both", or one of "channel" and "spatial" alone.
        pools: global poolings of the channel gate, of "avg", "max" and "lse" (log-sum-exp).
        bias: whether the perceptron has biases and the spatial gate a batch norm, as in the authors' code.
        minimum: least width of the bottleneck.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel: int = 7,
        order: Literal["channel_spatial", "spatial_channel", "parallel"] = "channel_spatial",
        parts: Literal["both", "channel", "spatial"] = "both",
        pools: tuple[Pool, ...] = ("avg", "max"),
        bias: bool = True,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"cbam needs an odd kernel, not {kernel}: an even one shifts the map")
        if order not in ("channel_spatial", "spatial_channel", "parallel"):
            raise InputError(f"cbam order is channel_spatial, spatial_channel or parallel, not {order!r}")
        self.order = order
        gates = {}
        if parts in ("both", "channel"):
            gates["channel"] = ChannelGate(channels, reduced(channels, reduction, minimum), tuple(pools), bias)
        if parts in ("both", "spatial"):
            gates["spatial"] = SpatialGate(kernel, norm=bias)
        if not gates:
            raise InputError(f"cbam parts is both, channel or spatial, not {parts!r}")
        self.gates = nn.ModuleDict(gates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.order == "parallel":
            for gate in [gate(x) for gate in self.gates.values()]:
                x = x * gate
            return x
        first_to_last = self.gates.values() if self.order == "channel_spatial" else reversed(self.gates.values())
        for gate in first_to_last:
            x = x * gate(x)
        return x
