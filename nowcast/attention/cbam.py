"""Convolutional block attention module: which channels, then which places.

Woo, Park, Lee and Kweon 2018, arXiv 1807.06521.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

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
Order = Literal["channel_spatial", "spatial_channel", "parallel", "channel", "spatial"]

# (B, C, H, W) → (B, C): the mean, the maximum and a soft maximum (log-sum-exp) of each channel.
POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "avg": lambda x: x.mean(dim=(2, 3)),
    "max": lambda x: x.amax(dim=(2, 3)),
    "lse": lambda x: x.logsumexp(dim=(2, 3)),
}


class ChannelGate(nn.Module):
    """σ of one perceptron applied to several global poolings and summed: (B, C, H, W) → (B, C, 1, 1)."""

    def __init__(self, channels: int, width: int, pools: Sequence[Pool], bias: bool) -> None:
        super().__init__()
        self.pools = pools
        self.perceptron = nn.Sequential(
            nn.Linear(channels, width, bias=bias), nn.ReLU(), nn.Linear(width, channels, bias=bias)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = sum(self.perceptron(POOLS[pool](x)) for pool in self.pools)
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
        order: "channel_spatial" (the paper's best), "spatial_channel", "parallel" (both gates from x), or one
            of the gates alone, "channel" or "spatial".
        pools: global poolings of the channel gate, of "avg", "max" and "lse" (log-sum-exp).
        bias: whether the perceptron has biases, as in the authors' code.
        norm: whether the spatial gate has a batch norm, as in the authors' code; the paper mentions none.
        minimum: least width of the bottleneck.

    Raises:
        InputError: for an even kernel, or an order or a pool that does not exist.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel: int = 7,
        order: Order = "channel_spatial",
        pools: Sequence[Pool] = ("avg", "max"),
        bias: bool = True,
        norm: bool = True,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"cbam needs an odd kernel, not {kernel}: an even one shifts the map")
        if order not in get_args(Order):
            raise InputError(f"cbam has no order {order!r}; it has {', '.join(get_args(Order))}")
        if not pools or not set(pools) <= set(POOLS):
            raise InputError(f"cbam pools are some of {', '.join(POOLS)}, not {list(pools)}")
        self.parallel = order == "parallel"
        gates: dict[str, nn.Module] = {}
        # Always built channel first, so that a state dict fits whatever the order.
        if order != "spatial":
            gates["channel"] = ChannelGate(channels, reduced(channels, reduction, minimum), tuple(pools), bias)
        if order != "channel":
            gates["spatial"] = SpatialGate(kernel, norm)
        self.gates = nn.ModuleDict(gates)
        self.sequence = ["spatial", "channel"] if order == "spatial_channel" else list(gates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for gate in self.sequence:
            y = y * self.gates[gate](x if self.parallel else y)
        return y
