"""Gather-excite: channels gated by what their surroundings, near or far, hold.

Hu, Shen, Albanie, Sun and Vedaldi 2018, arXiv 1810.12348.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._size import rows_and_columns
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["GatherExcite"]

CARD = Card(
    family="channel",
    paper="Hu et al., Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
    source="1810.12348",
    year=2018,
    equation="y = x ⊙ σ(up(excite(gather x)))",
    time="O(CN)",
    memory="O(CN)",
    note="A gather of the whole map has a kernel of one size; maps of another are pooled to it.",
)

Variant = Literal["theta_minus", "theta", "theta_plus"]


class MeanGather(nn.Module):
    """Means of windows of 2e − 1 pixels a side, e apart: (B, C, H, W) → (B, C, H/e, W/e)."""

    def __init__(self, extent: int) -> None:
        super().__init__()
        self.extent = extent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        margin = self.extent // 2
        # A window that is larger than the map and its margins sees no more than they hold.
        window = [min(2 * self.extent - 1, side + 2 * margin) for side in x.shape[2:]]
        return F.avg_pool2d(x, window, self.extent, margin, count_include_pad=False)


def strided_gather(channels: int, extent: int, norm: Norm) -> nn.Module:
    """log₂ e convolutions of single channels, each halving the map: (B, C, H, W) → (B, C, H/e, W/e)."""
    layers: list[nn.Module] = []
    for _ in range(extent.bit_length() - 1):
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        layers += [conv, norm_layer(norm, channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def global_gather(channels: int, size: tuple[int, int], norm: Norm) -> nn.Module:
    """A kernel of each channel as large as the map, pooled to that size: (B, C, H, W) → (B, C, 1, 1)."""
    conv = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
    return nn.Sequential(nn.AdaptiveAvgPool2d(size), conv, norm_layer(norm, channels))


class GatherExcite(nn.Module):
    """Gate every value by what its channel holds around it: y = x ⊙ σ(up(excite(gather x))).

    (B, C, H, W) → (B, C, H, W). Gather sums a channel up over an extent e, excite mixes the channels, and up
    repeats the outcome over the pixels it stands for.

    Args:
        channels: C.
        variant: "theta_minus" gathers means, without weights; "theta" by convolutions of each channel;
            "theta_plus" also excites by a perceptron of all channels.
        extent: e, a power of two, or None for the whole map, the paper's best.
        size: rows and columns of the kernel of the whole map.
        reduction: ratio r of the perceptron, 16 in the paper.
        norm: after the convolutions: "group", or "batch" as in the paper, which cannot train the gather of
            the whole map on one sample.
        minimum: least width of the perceptron.

    Raises:
        InputError: for an extent that is no power of two, or an empty size.
    """

    def __init__(
        self,
        channels: int,
        *,
        variant: Variant = "theta",
        extent: int | None = None,
        size: Sequence[int] = (8, 8),
        reduction: int = 16,
        norm: Norm = "group",
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if extent is not None and (extent < 2 or extent.bit_count() != 1):
            raise InputError(f"ge has no extent {extent}; 2, 4, 8 and so on would do, or none for the whole map")
        grid = rows_and_columns("ge", size)
        self.gather: nn.Module
        if variant == "theta_minus":
            self.gather = nn.AdaptiveAvgPool2d(1) if extent is None else MeanGather(extent)
        elif extent is None:
            self.gather = global_gather(channels, grid, norm)
        else:
            self.gather = strided_gather(channels, extent, norm)
        self.excite = nn.Sequential()
        if variant == "theta_plus":
            width = reduced(channels, reduction, minimum)
            self.excite.extend([nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.excite(self.gather(x)))
        return x * F.interpolate(gate, x.shape[2:], mode="nearest")
