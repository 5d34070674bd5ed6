"""Selective kernel: channels choose between convolutions of different reach.

Li, Wang, Hu and Yang 2019, arXiv 1903.06586.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["SelectiveKernel"]

CARD = Card(
    family="channel",
    paper="Li et al., Selective Kernel Networks",
    source="1903.06586",
    year=2019,
    equation="uₘ = δ(norm(convₘ x)); z = δ(norm(W GAP Σₘ uₘ)); y = Σₘ softmaxₘ(Aₘ z) ⊙ uₘ",
    time="O(9MC²N/G + MCd)",
    memory="O(MCN)",
    note="Groups are what of the paper's 32 divides C; ports with plain 5×5 kernels are kernels='plain'.",
)


class SelectiveKernel(nn.Module):
    """Mix convolutions of growing reach, with weights of each channel that what they all find decides.

    (B, C, H, W) → (B, C, H, W). Branch m sees 3 + 2m pixels, z has width max(C/r, `minimum`), and the weights
    of a channel are a softmax over the branches.

    Args:
        channels: C.
        branches: M, 2 in the paper.
        kernels: "dilated" reaches further with 3×3 kernels of dilation 1 + m, as the paper does; "plain" with
            all of (3 + 2m)².
        groups: G of the convolutions, 32 in the paper; None takes what of 32 divides C.
        reduction: ratio r, 16 in the paper.
        minimum: least width of z, 32 in the paper.
        norm: after all convolutions and of z, where a sample has one value a channel: "group", or "batch" as
            in the paper, which needs more than one sample to train.

    Raises:
        InputError: for groups that do not divide C, or fewer than two branches.
    """

    def __init__(
        self,
        channels: int,
        *,
        branches: int = 2,
        kernels: Literal["dilated", "plain"] = "dilated",
        groups: int | None = None,
        reduction: int = 16,
        minimum: int = 32,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        if branches < 2:
            raise InputError(f"sk chooses between branches, and has {branches}; 2 or more would do")
        groups = split_into("sk groups", groups, 32, channels)
        width = max(channels // reduction, minimum)

        def branch(reach: int) -> nn.Module:
            size, dilation = (3, reach) if kernels == "dilated" else (1 + 2 * reach, 1)
            conv = nn.Conv2d(channels, channels, size, padding=reach, dilation=dilation, groups=groups, bias=False)
            return nn.Sequential(conv, norm_layer(norm, channels), nn.ReLU())

        self.branches = nn.ModuleList(branch(reach) for reach in range(1, branches + 1))
        self.choose = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            norm_layer(norm, width),
            nn.ReLU(),
            nn.Conv2d(width, branches * channels, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [branch(x) for branch in self.branches]
        means = torch.stack([one.mean(dim=(2, 3), keepdim=True) for one in maps])
        logits = rearrange(self.choose(means.sum(dim=0)), "b (m c) 1 1 -> m b c 1 1", m=len(maps))
        y = torch.zeros_like(maps[0])
        for weight, one in zip(logits.softmax(dim=0), maps, strict=True):
            y = torch.addcmul(y, weight.to(one.dtype), one)
        return y
