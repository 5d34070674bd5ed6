"""ParNet's block: two convolutions and a gated skip side by side.

Goyal, Bochkovskiy, Deng and Koltun 2021, arXiv 2110.07641.
"""

import copy
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from einops import reduce
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.contracts import InputError

__all__ = ["ParallelNetworkBlock"]

CARD = Card(
    family="hybrid",
    paper="Goyal et al., Non-deep Networks",
    source="2110.07641",
    year=2021,
    equation="y = SiLU(BN conv₃ x + BN conv₁ x + s ⊙ σ(W GAP s)), s = BN x",
    time="O(10C²N), fused O(9C²N)",
    memory="O(CN)",
    note="Trained on one sample at a time, batch norms hide its means from the gate; norm='group' does not.",
)


class ParallelNetworkBlock(nn.Module):
    """Two convolutions beside a skip with gated channels: y = SiLU(BN conv₃ x + BN conv₁ x + SSE(x)).

    (B, C, H, W) → (B, C, H, W). The skip-squeeze-excitation is SSE(x) = s ⊙ σ(W GAP s) of s = BN x. Once
    trained, `fuse` gives a block with a single convolution and the same output.

    Args:
        channels: C.
        form: "paper", or "port" for a popular copy whose SSE takes x itself and whose convolutions all have
            biases (of which norms remove two).
        norm: "batch" as in the paper, or "group", which cannot be fused but also trains on one sample.
    """

    def __init__(self, channels: int, *, form: Literal["paper", "port"] = "paper", norm: Norm = "batch") -> None:
        super().__init__()
        bias = form == "port"

        def branch(kernel: int) -> nn.Module:
            conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=bias)
            return nn.Sequential(conv, norm_layer(norm, channels))

        excite = nn.Conv2d(channels, channels, 1, bias=bias)
        # In the order in which each form publishes its weights.
        if form == "paper":
            self.skip = norm_layer(norm, channels)
            self.branches = nn.ModuleList([branch(3), branch(1)])
            self.excite = excite
        else:
            self.skip = nn.Identity()
            self.excite = excite
            self.branches = nn.ModuleList([branch(1), branch(3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.skip(x)
        gate = torch.sigmoid(self.excite(reduce(skip, "b c h w -> b c 1 1", "mean")))
        return F.silu(sum((branch(x) for branch in self.branches), start=skip * gate))

    @torch.no_grad()
    def fuse(self) -> Self:
        """A block of the same output in eval mode, with one 3×3 convolution for both and their norms.

        Raises:
            InputError: for a block with group norms, which depend on what they norm.
        """
        fused = copy.deepcopy(self).eval()
        if len(fused.branches) == 1:
            return fused
        pairs: list[Any] = [list(branch.children()) for branch in fused.branches]
        if not all(isinstance(norm, nn.BatchNorm2d) for _, norm in pairs):
            raise InputError("parnet fuses its convolutions only with norm='batch'")
        convs = [fuse_conv_bn_eval(conv, norm) for conv, norm in pairs]
        joined, narrow = sorted(convs, key=lambda conv: conv.kernel_size, reverse=True)
        joined.weight += F.pad(narrow.weight, (1, 1, 1, 1))
        joined.bias += narrow.bias
        fused.branches = nn.ModuleList([joined])
        return fused
