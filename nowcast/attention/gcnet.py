"""Global context block: one weighted mean of the map, transformed and given to every pixel.

Cao, Xu, Lin, Wei and Hu 2019, arXiv 1904.11492.
"""

from typing import Literal

import torch
from einops import rearrange, reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced

__all__ = ["GlobalContext"]

CARD = Card(
    family="self-attention",
    paper="Cao et al., GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond",
    source="1904.11492",
    year=2019,
    equation="y = x + W₂ δ(LN(W₁ Σⱼ softmaxⱼ(W_k xⱼ) xⱼ))",
    time="O(CN + C²/r)",
    memory="O(C + N)",
)

Pool = Literal["attention", "mean"]
Fuse = Literal["add", "multiply", "both"]


class Transform(nn.Sequential):
    """W₂ δ(LN(W₁ c)) of the context c, 0 at first: (B, C) → (B, C)."""

    def __init__(self, channels: int, width: int) -> None:
        last = nn.Linear(width, channels)
        for weight in last.parameters():
            nn.init.zeros_(weight)
        super().__init__(nn.Linear(channels, width), nn.LayerNorm(width), nn.ReLU(), last)


class GlobalContext(nn.Module):
    """Give every pixel the same context of the whole map: y = x + W₂ δ(LN(W₁ Σⱼ softmaxⱼ(W_k xⱼ) xⱼ)).

    (B, C, H, W) → (B, C, H, W). W₂ starts at 0, so y = x at first (x / 2 where it multiplies).

    Args:
        channels: C.
        reduction: ratio r of the bottleneck, 16 in the paper's default, 4 in its best segmentation.
        pool: "attention", a mean under weights softmax(W_k x); or "mean".
        fuse: "add" the transformed context t, "multiply" by σ(t), or "both", each of its own transform.
        key_bias: whether W_k has a bias, as in the authors' code; no softmax over pixels can notice it.
        minimum: least width of the bottleneck.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        pool: Pool = "attention",
        fuse: Fuse = "add",
        key_bias: bool = False,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.key = nn.Conv2d(channels, 1, 1, bias=key_bias) if pool == "attention" else None
        self.add = Transform(channels, width) if fuse != "multiply" else None
        self.multiply = Transform(channels, width) if fuse != "add" else None

    def context(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of the map that is given to all pixels: (B, C, H, W) → (B, C)."""
        if self.key is None:
            return reduce(x, "b c h w -> b c", "mean")
        weights = rearrange(self.key(x), "b 1 h w -> b (h w) 1").softmax(dim=1).to(x.dtype)
        return rearrange(rearrange(x, "b c h w -> b c (h w)") @ weights, "b c 1 -> b c")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context, y = self.context(x), x
        if self.multiply is not None:
            y = y * rearrange(torch.sigmoid(self.multiply(context)), "b c -> b c 1 1")
        if self.add is not None:
            y = y + rearrange(self.add(context), "b c -> b c 1 1")
        return y
