"""Outlook attention: each pixel says, from itself alone, how the pixels around it average each other.

Yuan, Hou, Jiang, Feng and Yan 2021, arXiv 2106.13112.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["OutlookAttention"]

CARD = Card(
    family="self-attention",
    paper="Yuan et al., VOLO: Vision Outlooker for Visual Recognition",
    source="2106.13112",
    year=2021,
    equation="y = W_o fold(A · unfold(W_v x)), A = softmax(W_a pool_s(x) / √d), k² × k² a window",
    time="O(C²N + (C + hC)k⁴N/s²)",
    memory="O((hk⁴ + Ck²)N/s²)",
    note="Overlapping windows are summed, not averaged. At stride 1 the released code (form='code') spreads "
    "each window's weights around the pixel that gave them instead, which is another operator.",
)

Form = Literal["paper", "code"]


class OutlookAttention(nn.Module):
    """Average each window of k × k pixels by weights that its middle emits, and sum the windows that overlap.

    (B, C, H, W) → (B, C, H, W). In each head, the middle's features give k² averages of the k² values of the
    window; the average number c is added to the output at pixel c of the window. Off the map values are 0.

    Args:
        channels: C.
        heads: number h of heads, d = C / h; None takes what of 6, the paper's, divides C.
        kernel: odd side k of a window, 3 in the paper.
        stride: s between windows, at most k, 2 in the paper's networks; x is averaged over s × s for A.
        form: "paper", or "code" for the released network: at stride 1, average c is taken of the window of
            pixel c around and added to the middle. They agree at other strides.

    Raises:
        InputError: for heads that do not divide C, an even kernel, or a stride that is not from 1 to k.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        kernel: int = 3,
        stride: int = 1,
        form: Form = "paper",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"outlook needs an odd kernel, not {kernel}: an even one shifts the map")
        if not 1 <= stride <= kernel:
            raise InputError(f"outlook with stride {stride} leaves gaps; from 1 to {kernel}, the kernel, would do")
        self.heads = split_into("outlook heads", heads, 6, channels)
        self.kernel, self.stride = kernel, stride
        self.around_the_middle = form == "code" and stride == 1
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.weigh = nn.Conv2d(channels, kernel**4 * self.heads, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middles = F.avg_pool2d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        logits = (x.shape[1] // self.heads) ** -0.5 * self.weigh(middles)
        logits = rearrange(
            logits, "b (heads to source) h w -> b heads (h w) to source", heads=self.heads, to=self.kernel**2
        )
        gather = self._around if self.around_the_middle else self._folded
        return self.project(gather(logits.softmax(dim=4).to(x.dtype), self.value(x)))

    def _folded(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Averages of all windows, added where they belong: (B, heads, M, k², k²) of M windows → (B, C, H, W)."""
        options = {"kernel_size": self.kernel, "padding": self.kernel // 2, "stride": self.stride}
        windows = F.unfold(values, **options)
        windows = rearrange(
            windows, "b (heads d source) m -> b heads m source d", heads=self.heads, source=self.kernel**2
        )
        averages = rearrange(weights @ windows, "b heads m to d -> b (heads d to) m")
        return F.fold(averages, values.shape[2:], **options)

    def _around(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The same weights as one kernel of (2k − 1)² around each pixel, applied there."""
        side = 2 * self.kernel - 1
        kernels = F.fold(rearrange(weights, "b heads n to source -> (b heads n) to source"), side, self.kernel)
        kernels = rearrange(kernels, "(b heads n) 1 i j -> b heads n 1 (i j)", b=len(values), heads=self.heads)
        windows = F.unfold(values, side, padding=side // 2)
        windows = rearrange(windows, "b (heads d source) n -> b heads n source d", heads=self.heads, source=side**2)
        return rearrange(
            kernels @ windows, "b heads (h w) 1 d -> b (heads d) h w", h=values.shape[2], w=values.shape[3]
        )
