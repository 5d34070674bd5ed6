"""Residual attention: a trunk of residual units under a soft mask that has seen a wider field.

Wang, Jiang, Qian and others 2017, arXiv 1704.06904.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["ResidualAttention"]

CARD = Card(
    family="mixed",
    paper="Wang et al., Residual Attention Network for Image Classification",
    source="1704.06904",
    year=2017,
    equation="y = (1 + M(x)) ⊙ T(x); T residual units, M = σ(conv₁ conv₁ hourglass(x))",
    time="O(C²N(p + t + r))",
    memory="O(CN(p + t + r))",
    note="Group norms by default, so that one sample can be trained on.",
)

Mask = Literal["mixed", "channel", "spatial"]


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck: x + conv₁ conv₃ conv₁, each after norm and ReLU."""

    def __init__(self, channels: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(norm_layer(norm, channels), nn.ReLU(), nn.Conv2d(channels, width, 1, bias=False)),
            *(norm_layer(norm, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)),
            *(norm_layer(norm, width), nn.ReLU(), nn.Conv2d(width, channels, 1, bias=False)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class ResidualAttention(nn.Module):
    """Residual units T under a mask M that gates every value from a wider field: y = (1 + M(x)) ⊙ T(x).

    (B, C, H, W) → (B, C, H, W). p units come first and p last; between them stand T, t units, and M: an
    hourglass of max pools (3×3, stride 2) with r units after each and 2r at the bottom, bilinear steps back to
    the size of each skip, which has a unit of its own, two 1×1 convolutions, and an activation. The 1 keeps
    deep stacks from fading.

    Args:
        channels: C.
        pools: how often the mask halves the map; the paper has 3, 2 and 1 on its 56, 28 and 14 pixel maps.
        outer: p, 1 in the paper.
        trunk: t, 2 in the paper.
        inner: r, 1 in the paper.
        mask: "mixed": σ of each value; "channel": each position's channels over their L2 norm; "spatial":
            σ of each channel's values standardised over the map.
        norm: "group", or "batch" as in the paper, which cannot be trained on one sample whose map is pooled
            to one pixel.

    Raises:
        InputError: for fewer than one pool, trunk or inner unit, or a negative number of outer ones.
    """

    def __init__(
        self,
        channels: int,
        *,
        pools: int = 3,
        outer: int = 1,
        trunk: int = 2,
        inner: int = 1,
        mask: Mask = "mixed",
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        if min(pools, trunk, inner) < 1 or outer < 0:
            raise InputError(
                f"residual_attention cannot have {pools} pools, {trunk} trunk, {inner} inner and {outer} outer "
                "units; 1, 1, 1 and 0 are the least"
            )
        width = reduced(channels, 4)

        def units(number: int) -> nn.Sequential:
            return nn.Sequential(*(ResidualUnit(channels, width, norm) for _ in range(number)))

        self.mask = mask
        self.first = units(outer)
        self.trunk = units(trunk)
        self.down = nn.ModuleList(nn.Sequential(units(inner), units(1)) for _ in range(pools - 1))
        self.bottom = units(2 * inner)
        self.up = nn.ModuleList(units(inner) for _ in range(pools - 1))
        self.logits = nn.Sequential(
            *(norm_layer(norm, channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False)),
            *(norm_layer(norm, channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False)),
        )
        self.last = units(outer)

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        """The mask M of a map: (B, C, H, W) → (B, C, H, W)."""
        skips, y = [], x
        for level in self.down:
            pooled, skip = level.children()
            y = pooled(halve(y))
            skips.append(skip(y))
        y = self.bottom(halve(y))
        for level, beside in zip(self.up, reversed(skips), strict=True):
            y = level(resize(y, beside) + beside)
        return activate(self.logits(resize(y, x)), self.mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last((1 + self.gate(x)) * self.trunk(x))


def halve(x: torch.Tensor) -> torch.Tensor:
    """The maximum of 3×3 pixels around every second pixel; one pixel stays one."""
    return F.max_pool2d(x, 3, stride=2, padding=1)


def resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Bilinear to the size of another map, corner on corner."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


def activate(logits: torch.Tensor, mask: Mask) -> torch.Tensor:
    """The paper's three kinds of mask."""
    if mask == "channel":
        return F.normalize(logits, dim=1)
    if mask == "spatial":
        variance, mean = torch.var_mean(logits, dim=(2, 3), correction=0, keepdim=True)
        logits = (logits - mean) * torch.rsqrt(variance + 1e-5)
    return torch.sigmoid(logits)
