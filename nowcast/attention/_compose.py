"""Attention made of attention: side by side, or added to its input by a learnt scale."""

from collections.abc import Sequence
from typing import Literal

import torch
from einops import pack, unpack
from torch import nn

from nowcast.contracts import InputError

Fuse = Literal["sum", "concat"]


class Parallel(nn.Module):
    """Several mechanisms of the same input, fused: y = Σᵢ aᵢ(x), or y = W [a₁(x); a₂(x); …].

    (…, C, H, W) → (…, C, H, W).

    Args:
        branches: the mechanisms aᵢ, each C → C.
        channels: C.
        fuse: "sum", or "concat": along channels, then a 1×1 convolution W back to C.
    """

    def __init__(self, branches: Sequence[nn.Module], channels: int, fuse: Fuse = "sum") -> None:
        super().__init__()
        if not branches:
            raise InputError("parallel attention has no branches; list at least one name")
        if fuse not in ("sum", "concat"):
            raise InputError(f"parallel attention is fused by sum or concat, not {fuse!r}")
        self.branches = nn.ModuleList(branches)
        self.project = nn.Conv2d(len(branches) * channels, channels, 1) if fuse == "concat" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.project is None:
            return torch.stack(outputs).sum(dim=0)
        maps, frames = pack([torch.cat(outputs, dim=-3)], "* c h w")
        (y,) = unpack(self.project(maps), frames, "* c h w")
        return y


class ScaledResidual(nn.Module):
    """A mechanism as a correction of its input: y = x + γ a(x), the identity at first (γ = 0).

    Args:
        branch: the mechanism a; its output has the shape of its input.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch(x)
        if y.shape != x.shape:
            raise InputError(
                f"residual attention turned {tuple(x.shape)} into {tuple(y.shape)}; it must keep the shape"
            )
        return x + self.gamma * y
