"""What stands between SimVP's encoder and decoder: (B, C_in, H, W) → (B, C_out, H, W), time in the channels."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import nn

from nowcast.models._blocks import AttentionFactory, group_norm
from nowcast.norms import GroupNorm


class GSTATranslator(nn.Sequential):
    """A chain of blocks of gated spatiotemporal attention.

    Args:
        inputs: C_in; the first block works at it and then goes to `hidden`.
        hidden: channels of the blocks between.
        outputs: C_out; the last block works at `hidden` and then goes to it.
        blocks: how many, at least 2.
        attention: builds what stands behind each block.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, blocks: int, attention: Sequence[AttentionFactory]
    ) -> None:
        befores = [inputs] + [hidden] * (blocks - 1)
        afters = [hidden] * (blocks - 1) + [outputs]
        super().__init__(
            *(
                nn.Sequential(
                    GatedBlock(before),
                    nn.Identity() if before == after else nn.Conv2d(before, after, 1),
                    gate(after),
                )
                for before, after, gate in zip(befores, afters, attention, strict=True)
            )
        )


class GatedBlock(nn.Module):
    """x + s₁ attention(norm x), then x + s₂ perceptron(norm x), both scales a channel from 0.01.

    Args:
        channels: C.
        ratio: of the perceptron's hidden channels to C; 8 in the authors' code.
    """

    def __init__(self, channels: int, ratio: int = 8) -> None:
        super().__init__()
        self.attention = nn.Sequential(group_norm(channels), GatedAttention(channels))
        self.perceptron = nn.Sequential(
            group_norm(channels),
            nn.Conv2d(channels, ratio * channels, 1),
            nn.Conv2d(ratio * channels, ratio * channels, 3, padding=1, groups=ratio * channels),
            nn.GELU(),
            nn.Conv2d(ratio * channels, channels, 1),
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.full((channels, 1, 1), 0.01)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.scales[0] * self.attention(x)
        return x + self.scales[1] * self.perceptron(x)


class GatedAttention(nn.Module):
    """A large kernel seen through a gate: x + project(σ(g) ⊙ f), [f, g] = mix(far(near(GELU(project x)))).

    A 5×5 convolution a channel and one of 7×7 with steps of 3 see 23 × 23 pixels (the paper's kernel of 21).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = _FullPrecision(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.mix = nn.Conv2d(channels, 2 * channels, 1)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen, gate = self.mix(self.far(self.near(nn.functional.gelu(self.before(x))))).chunk(2, dim=1)
        return x + self.after(torch.sigmoid(gate) * seen)


class _FullPrecision(nn.Conv2d):
    """A convolution that a CPU computes in 32 bits.

    In bfloat16, PyTorch 2.13 leaves numbers that nobody wrote in the gradient of the weights of a 7×7 convolution a
    channel in steps of 3 whose maps or weights are channels-last: a training ends in NaN some steps later.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halved = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or not halved:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).to(x.dtype)


class InceptionTranslator(nn.Module):
    """Inception blocks there and, with what they made put beside, back again.

    Args:
        inputs: C_in.
        hidden: channels between.
        outputs: C_out.
        blocks: on each way, at least 2.
        attention: builds what stands behind each block, there and back.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, blocks: int, attention: Sequence[AttentionFactory]
    ) -> None:
        super().__init__()

        def block(before: int, after: int, gate: AttentionFactory) -> nn.Sequential:
            return nn.Sequential(Inception(before, hidden // 2, after), gate(after))

        there, back = attention[:blocks], attention[blocks:]
        self.there = nn.ModuleList(block(hidden if k else inputs, hidden, gate) for k, gate in enumerate(there))
        self.back = nn.ModuleList(
            block(2 * hidden if k else hidden, hidden if k < blocks - 1 else outputs, gate)
            for k, gate in enumerate(back)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for block in self.there:
            x = block(x)
            kept.append(x)
        x = self.back[0](kept.pop())
        for block in self.back[1:]:
            x = block(torch.cat([x, kept.pop()], dim=1))
        return x


class Inception(nn.Module):
    """A 1×1 convolution, then the sum of grouped ones of several sizes, each with norm and leaky ReLU."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernels: Sequence[int] = (3, 5, 7, 11)) -> None:
        super().__init__()
        groups = math.gcd(8, math.gcd(hidden, outputs))
        self.reduce = nn.Conv2d(inputs, hidden, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, outputs, kernel, padding=kernel // 2, groups=groups),
                GroupNorm(groups, outputs),
                nn.LeakyReLU(0.2, inplace=True),
            )
            for kernel in kernels
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        return reduce(torch.add, (branch(x) for branch in self.branches))
