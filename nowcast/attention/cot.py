"""Contextual transformer: a static context of keys and, made from it, a convolution of each place's own.

Li, Yao, Pan and Mei 2021, arXiv 2107.12292.
"""

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["ContextualTransformer"]

CARD = Card(
    family="hybrid",
    paper="Li et al., Contextual Transformer Networks for Visual Recognition",
    source="2107.12292",
    year=2021,
    equation="k = conv₃(x), w = W_θ W_δ [x; k], v = W_v x; y = a ⊙ k + (1 − a) ⊙ SiLU(Σ_taps w ⊙ v), "
    "a = softmax of W₂ W₁ GAP(k + that), each W and sum with its norm",
    time="O(k²CN + C²N)",
    memory="O(k²CN)",
    note="There is no softmax over the window, as in the paper. The norm of one value a channel is a group norm.",
)

Variant = Literal["cot", "coxt"]


class ContextualTransformer(nn.Module):
    """Convolve keys for a static context, let it and x make local kernels for values, and fuse both contexts.

    (B, C, H, W) → (B, C, H, W). Local kernels of k × k taps have C / 8 channels, shared by the channels whose
    numbers are equal modulo C / 8 (of a group). Channelwise, a softmax of the means decides between contexts.

    Args:
        channels: C.
        variant: "cot", or "coxt" of the paper's wider networks, with 8 groups of keys in place of 4, and
            with two groups in the layers that make kernels and values.
        kernel: odd size k of keys and local kernels, 3 in the paper.
        groups: of the convolution of keys; None takes what of 4 (coxt: 8) divides C.
        norm: of the fusion's hidden layer, where a sample has one value a channel: "group", or "batch" as in
            the paper, which needs more than one sample to train. All other norms are batch norms.

    Raises:
        InputError: for an even kernel, groups that do not divide C, or coxt with an odd C.
    """

    def __init__(
        self,
        channels: int,
        *,
        variant: Variant = "cot",
        kernel: int = 3,
        groups: int | None = None,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"cot needs an odd kernel, not {kernel}: an even one shifts the map")
        self.kernel, self.parts = kernel, 2 if variant == "coxt" else 1
        if channels % self.parts:
            raise InputError(f"cot of variant coxt needs an even number of channels, not {channels}")
        groups = split_into("cot groups", groups, 4 * self.parts, channels)
        self.kernels = channels // math.gcd(8, channels // self.parts)
        hidden = self.parts * max(channels // (2 * self.parts), 1)
        taps = kernel**2 * self.kernels
        self.key = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.weigh = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1, groups=self.parts, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, taps, 1, groups=self.parts),
            nn.GroupNorm(self.kernels, taps),
        )
        self.value = nn.Sequential(
            nn.Conv2d(channels, channels, 1, groups=self.parts, bias=False), nn.BatchNorm2d(channels)
        )
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.SiLU())
        width = max(channels // 2, 32)
        self.choose = nn.Sequential(
            nn.Conv2d(channels, width, 1), norm_layer(norm, width), nn.ReLU(), nn.Conv2d(width, 2 * channels, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        static = self.key(x)
        # A layer in two parts is to see half of x and of the keys in each: there the two alternate.
        pattern = "two b c h w -> b (two c) h w" if self.parts == 1 else "two b c h w -> b (c two) h w"
        both = rearrange([x, static], pattern)
        dynamic = self.activate(self._convolved(self.value(x), self.weigh(both)))
        logits = self.choose((dynamic + static).mean(dim=(2, 3), keepdim=True))
        shares = rearrange(logits, "b (c two) 1 1 -> two b c 1 1", two=2).softmax(dim=0)
        return shares[0] * dynamic + shares[1] * static

    def _convolved(self, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Values times the kernel of each place: (B, C, H, W) and (B, kernels · k², H, W) → (B, C, H, W)."""
        height, width = values.shape[2:]
        weights = rearrange(
            weights, "b (parts kernels tap) h w -> tap b parts 1 kernels h w", parts=self.parts, tap=self.kernel**2
        )
        margin = self.kernel // 2
        around = rearrange(
            F.pad(values, [margin] * 4),
            "b (parts share kernels) h w -> b parts share kernels h w",
            parts=self.parts,
            kernels=self.kernels // self.parts,
        )
        # Tap by tap, so that the k² values of each window are never laid out side by side.
        taps = itertools.product(range(self.kernel), repeat=2)
        context = sum(
            weight * around[..., i : i + height, j : j + width] for weight, (i, j) in zip(weights, taps, strict=True)
        )
        return rearrange(context, "b parts share kernels h w -> b (parts share kernels) h w")
