"""Pyramid squeeze attention: channels from kernels of several sizes, weighed against each other.

Zhang, Zu, Lu, Zou and Meng 2021, arXiv 2105.14447.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["PyramidSqueezeAttention"]

CARD = Card(
    family="channel",
    paper="Zhang et al., EPSANet: An Efficient Pyramid Squeeze Attention Block on CNN",
    source="2105.14447",
    year=2021,
    equation="fᵢ = convₖᵢ x, C/S channels each; y = [softmaxᵢ(SE fᵢ) ⊙ fᵢ]",
    time="O(C²N Σk²/SG)",
    memory="O(CN)",
    note="Not the polarized self-attention of the same initials. Needs a C that 2, 3 or 4 divides.",
)

KERNELS = (3, 5, 7, 9)


class PyramidSqueezeAttention(nn.Module):
    """Convolve by kernels of several sizes, and weigh their outputs by a softmax over the sizes.

    (B, C, H, W) → (B, C, H, W). Each of S kernels gives C/S channels. One squeeze-and-excitation that all
    share gives each of them a weight in (0, 1), and the softmax over the S channels of equal rank another.
    Outputs are put together with the largest kernel first, as in the authors' code.

    Args:
        channels: C.
        kernels: odd sizes, 3, 5, 7 and 9 in the paper, in groups of 1, 4, 8 and 16 as far as those divide
            C/S; None takes the first 4, 3 or 2 of them, of which S divides C.
        reduction: ratio r of the shared bottleneck, 16 in the paper.
        minimum: its least width.

    Raises:
        InputError: for an even kernel, or where S is 1 or does not divide C.
    """

    def __init__(
        self, channels: int, *, kernels: Sequence[int] | None = None, reduction: int = 16, minimum: int = 8
    ) -> None:
        super().__init__()
        if kernels is None:
            kernels = KERNELS[: next((count for count in (4, 3, 2) if channels % count == 0), 4)]
        if any(kernel % 2 == 0 for kernel in kernels):
            raise InputError(f"psa needs odd kernels, not {list(kernels)}: even ones shift the map")
        if len(kernels) < 2 or channels % len(kernels):
            possible = ", ".join(str(n) for n in range(2, channels + 1) if channels % n == 0) or "none"
            raise InputError(
                f"psa splits channels over 2 kernels or more, and {len(kernels)} do not split {channels}; "
                f"numbers that would do: {possible}"
            )
        width = channels // len(kernels)

        def branch(kernel: int) -> nn.Module:
            groups = math.gcd(1 if kernel == 3 else 2 ** (kernel // 2), width)
            return nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups, bias=False)

        self.branches = nn.ModuleList(branch(kernel) for kernel in kernels)
        hidden = reduced(width, reduction, minimum)
        self.excite = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.stack([branch(x) for branch in reversed(self.branches)], dim=1)  # (B, S, C/S, H, W)
        weights = self.excite(maps.mean(dim=(3, 4))).softmax(dim=1)
        return rearrange(maps * rearrange(weights, "b s c -> b s c 1 1"), "b s c h w -> b (s c) h w")
