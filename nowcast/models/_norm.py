"""Group norm that is as fast on channels-last maps as on others; Wu and He 2018, arXiv 1803.08494.

On a CPU, PyTorch's own (2.13) reads channels-last maps of few channels a number at a time. Measured on one core, batch 8
of 128² with 16 channels: 12 ms for the backward pass and 38 in bfloat16, where maps one after another take 2 and 1.
Results are the same.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# Channels from which maps as they lie are as fast, in the forward and in the backward pass.
MANY = {torch.float32: (8, 32), torch.bfloat16: (16, 128)}


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, which turns channels-last maps where that costs less than it saves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        many, many_backward = MANY.get(x.dtype, (0, 0))
        if x.device.type != "cpu" or x.is_contiguous() or self.num_channels >= many_backward:
            return super().forward(x)
        if self.num_channels < many:
            return super().forward(x.contiguous())
        normed: torch.Tensor = _TurnedBackward.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normed


class _TurnedBackward(torch.autograd.Function):
    """Group norm of maps as they lie, whose backward pass turns them: (B, C, H, W) → the same."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float
    ) -> torch.Tensor:
        batch, channels, height, width = x.shape
        y, mean, scale = torch.native_group_norm(x, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.groups = groups
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        batch, channels, height, width = x.shape
        maps = gradient.contiguous(), x.contiguous(), mean, scale, weight
        lengths = batch, channels, height * width, ctx.groups
        gradients = torch.ops.aten.native_group_norm_backward(*maps, *lengths, list(ctx.needs_input_grad[:3]))
        return *gradients, None, None
