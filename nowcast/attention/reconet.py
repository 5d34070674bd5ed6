"""RecoNet: the whole (C, H, W) attention as a sum of products of one factor along each axis.

Chen, Zhu, Zeng and others 2020, arXiv 2008.00490.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._size import rows_and_columns
from nowcast.contracts import InputError

__all__ = ["TensorReconstructionAttention"]

CARD = Card(
    family="mixed",
    paper="Chen et al., Tensor Low-Rank Reconstruction for Semantic Segmentation",
    source="2008.00490",
    year=2020,
    equation="A = Σᵢ λᵢ cᵢ⊗hᵢ⊗wᵢ, factors σ(generator(pooled x)); y = W [x; δ(x ⊙ A)]",
    time="O(rCN + rC²)",
    memory="O((r + C)N)",
    note="The paper's generators along H and W fit one size; ours are convolutions by default.",
)

Form = Literal["paper", "code"]
Output = Literal["fused", "product"]


class LinearGenerator(nn.Module):
    """r factors σ(Wᵢ p) from the profile p of an axis, each Wᵢ of L × L: (B, C, any) → (B, r, any length).

    A profile of another length is pooled to L, and factors are interpolated to the length asked for.
    """

    def __init__(self, rank: int, length: int) -> None:
        super().__init__()
        self.rank, self.length = rank, length
        self.generate = nn.Linear(length, rank * length, bias=False)

    def forward(self, profile: torch.Tensor, length: int) -> torch.Tensor:
        pooled = F.adaptive_avg_pool1d(profile.mean(dim=1, keepdim=True), self.length)
        factors = torch.sigmoid(rearrange(self.generate(pooled), "b 1 (r l) -> b r l", r=self.rank))
        return F.interpolate(factors, length, mode="linear")


class SlidingGenerator(nn.Module):
    """r factors from a convolution along the profiles of an axis: (B, C, any) → (B, r, any length)."""

    def __init__(self, channels: int, rank: int, kernel: int) -> None:
        super().__init__()
        self.generate = nn.Conv1d(channels, rank, kernel, padding=kernel // 2)

    def forward(self, profile: torch.Tensor, length: int) -> torch.Tensor:
        return F.interpolate(torch.sigmoid(self.generate(profile)), length, mode="linear")


class TensorReconstructionAttention(nn.Module):
    """Weigh every value by a low-rank tensor made of context along channels, rows and columns.

    (B, C, H, W) → (B, C, H, W). The pooled map gives r factors an axis, cᵢ (C), hᵢ (H) and wᵢ (W), each by
    a generator of its own and σ; A = Σᵢ λᵢ cᵢ⊗hᵢ⊗wᵢ, λ the softmax of learnt logits; then [x; δ(x ⊙ A)] is
    fused by a 1×1 convolution. All ranks are one matrix product of C × r by r × N.

    Args:
        channels: C.
        rank: r, 64 in the paper.
        fixed_size: (H, W) of the paper's generators, which are H × H and W × W matrices; maps of another
            size are pooled to it and their factors interpolated back. None takes convolutions along the
            axis, for which any size is native.
        kernel: odd length of these convolutions.
        output: "fused", or "product" for x ⊙ A alone.
        form: "paper", or "code" for the released network, where λᵢ = 1/r is not learnt, and rows are
            generated from the means of the columns and columns from those of the rows.

    Raises:
        InputError: for a rank or a size below 1, or an even kernel.
    """

    def __init__(
        self,
        channels: int,
        *,
        rank: int = 64,
        fixed_size: tuple[int, int] | None = None,
        kernel: int = 3,
        output: Output = "fused",
        form: Form = "paper",
    ) -> None:
        super().__init__()
        if rank < 1:
            raise InputError(f"reconet of rank {rank} is empty; the rank starts at 1")
        if kernel % 2 == 0:
            raise InputError(f"reconet needs an odd kernel, not {kernel}: an even one shifts the map")
        lengths = (None, None) if fixed_size is None else rows_and_columns("reconet", fixed_size)
        self.rank, self.crossed = rank, form == "code"
        self.channels = LinearGenerator(rank, channels)
        self.rows, self.columns = (
            SlidingGenerator(channels, rank, kernel) if length is None else LinearGenerator(rank, length)
            for length in lengths
        )
        self.logits = nn.Parameter(torch.zeros(rank)) if form == "paper" else None
        self.fuse = nn.Conv2d(2 * channels, channels, 1) if output == "fused" else None

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """The attention A of a map, between 0 and 1: (B, C, H, W) → (B, C, H, W)."""
        by_row, by_column = reduce(x, "b c h w -> b c h", "mean"), reduce(x, "b c h w -> b c w", "mean")
        if self.crossed:
            by_row, by_column = by_column, by_row
        channels = self.channels(reduce(x, "b c h w -> b 1 c", "mean"), x.shape[1])
        rows, columns = self.rows(by_row, x.shape[2]), self.columns(by_column, x.shape[3])
        if self.logits is None:
            channels = channels / self.rank
        else:
            channels = channels * rearrange(self.logits.softmax(dim=0), "r -> r 1")
        places = torch.einsum("brh, brw -> brhw", rows, columns)
        return torch.einsum("brc, brhw -> bchw", channels, places)

    def joined(self, x: torch.Tensor) -> torch.Tensor:
        """[x; δ(x ⊙ A)], the released network's output: (B, C, H, W) → (B, 2C, H, W)."""
        return torch.cat([x, torch.relu(x * self.reconstruct(x))], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.reconstruct(x) if self.fuse is None else self.fuse(self.joined(x))
