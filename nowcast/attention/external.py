"""External attention: pixels attend to two small learnt memories that all samples share.

Guo, Liu, Mu and Hu 2021, arXiv 2105.02358.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._precision import at_least_single
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["ExternalAttention"]

CARD = Card(
    family="self-attention",
    paper="Guo et al., Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks",
    source="2105.02358",
    year=2021,
    equation="A = ℓ₁_S(softmax_N(M_k x)); y = M_v A",
    time="O(SCN)",
    memory="O(SN)",
    note="Forms core (two memories), block (the paper's for segmentation) and heads (for transformers).",
)

Form = Literal["core", "block", "heads"]
WIDENING = 4  # of the channels that the authors' heads share


class ExternalAttention(nn.Module):
    """Read a memory of S slots at every pixel: A = ℓ₁_S(softmax_N(M_k x)), y = M_v A.

    (B, C, H, W) → (B, C, H, W). Each slot is spread over the positions by a softmax, and what a position got
    of all slots is then divided by its sum: in this order no position takes more than it would alone.

    Args:
        channels: C.
        form: "core"; "block" has a 1×1 convolution before and one with a norm after, y = δ(x + …), as in the
            paper's segmentation; "heads" widens to 4C, where all heads use one pair of memories.
        slots: S, 64 in the paper.
        heads: of "heads", per C channels, 8 in the paper; None takes what of 8 divides C.
        bias: whether all that leads to the logits has biases, as in the authors' code. They have no effect: a
            softmax ignores what all positions share.
        norm: of "block", "batch" in the paper.

    Raises:
        InputError: for heads that do not divide C, or no slots.
    """

    def __init__(
        self,
        channels: int,
        *,
        form: Form = "core",
        slots: int = 64,
        heads: int | None = None,
        bias: bool = False,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        heads = split_into("external heads", heads, 8, channels)
        if slots < 1:
            raise InputError(f"external attention reads {slots} slots; 1 or more would do")
        self.heads = WIDENING * heads if form == "heads" else 1
        self.residual = form == "block"
        wide = WIDENING * channels if form == "heads" else channels
        width = wide // self.heads
        self.project = nn.Identity() if form == "core" else nn.Conv2d(channels, wide, 1, bias=bias)
        self.keys = nn.Conv1d(width, slots, 1, bias=bias and form == "heads")
        self.values = nn.Conv1d(slots, width, 1, bias=form == "heads")
        self.back: nn.Module = nn.Identity()
        if form == "heads":
            self.back = nn.Conv2d(wide, channels, 1)
        elif form == "block":
            conv = nn.Conv2d(channels, channels, 1, bias=False)
            self.back = nn.Sequential(conv, norm_layer(norm, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = rearrange(self.project(x), "b (heads d) h w -> (b heads) d (h w)", heads=self.heads)
        slots = at_least_single(self.keys(pixels)).softmax(dim=2)
        weights = slots / (slots.sum(dim=1, keepdim=True) + 1e-9)  # (B · heads, S, N)
        found = self.values(weights.to(pixels.dtype))
        y = self.back(rearrange(found, "(b heads) d (h w) -> b (heads d) h w", heads=self.heads, h=x.shape[2]))
        return torch.relu(x + y) if self.residual else y
