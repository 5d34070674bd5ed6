"""Group norm that is fast and precise on channels-last maps as on others; Wu and He 2018, arXiv 1803.08494.

On a CPU, PyTorch's own (2.13) has two faults with channels-last maps. Of few channels it reads them a number at a time:
on one core, batch 8 of 128² with 16 channels, its backward pass takes 12 ms, and 38 in bfloat16; after turning the maps
it takes 7 and 3. And it sums all pixels of a channel in one float32, one after the other: of mostly dry radar, whose
pixels are mostly equal, mean and scale are off by 0.06 standard deviations on 704², and by another amount with another
number of threads. Here sums are over strips of few rows and put together in float64, and are off by less than 0.0001;
but not on maps of up to 128², where torch's are off by 0.001 and training is faster with them.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# Channels from which maps are best read as they lie, in the forward and in the backward pass.
MANY = {torch.float32: (8, 32), torch.bfloat16: (16, 128)}
STRIP = 2048  # pixels whose sums in float32 are precise enough
AS_IT_IS = {torch.float32: 8 * STRIP, torch.bfloat16: 128 * STRIP}  # pixels that go without strips


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, precise on maps of any size, which turns channels-last maps where that is faster.

    A group of a single value becomes 0, where torch's own raises.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        own = self.num_groups, self.weight, self.bias, self.eps
        if torch.compiler.is_exporting():  # to a graph that holds for any size, and for any layout
            return torch.group_norm(x.contiguous(), *own)
        last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        if torch.compiler.is_compiling() or x.device.type != "cpu" or not last:
            return torch.group_norm(x, *own)
        normed: torch.Tensor = _ChannelsLast.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normed


class _ChannelsLast(torch.autograd.Function):
    """Group norm of channels-last maps, (B, C, H, W) → the same, turned for the backward pass or for both."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float
    ) -> torch.Tensor:
        batch, channels, height, width = x.shape
        many, many_backward = MANY.get(x.dtype, (0, 0))
        rows = strip_rows(height, width) if height * width > AS_IT_IS.get(x.dtype, math.inf) else height
        maps = x.contiguous() if channels < many or rows is None else x
        if rows in (None, height) or maps is not x:
            y, mean, scale = torch.native_group_norm(maps, weight, bias, batch, channels, height * width, groups, eps)
        else:
            mean, scale = _moments(x.float(), groups, eps, rows or 1)
            times = weight * scale.repeat_interleave(channels // groups, 1)
            plus = bias - times * mean.repeat_interleave(channels // groups, 1)
            y = torch.addcmul(plus[..., None, None], x, times[..., None, None]).to(x.dtype)
        ctx.save_for_backward(x if channels >= many_backward else maps, weight, mean, scale)
        ctx.groups, ctx.turned = groups, channels < many_backward
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, weight, mean, scale = ctx.saved_tensors
        batch, channels, height, width = maps.shape
        layout = torch.contiguous_format if ctx.turned else torch.channels_last
        read = gradient.contiguous(memory_format=layout), maps.contiguous(memory_format=layout), mean, scale, weight
        lengths = batch, channels, height * width, ctx.groups
        of_maps, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            *read, *lengths, list(ctx.needs_input_grad[:3])
        )
        if of_maps is not None:
            of_maps = of_maps.contiguous(memory_format=torch.channels_last)
        return of_maps, of_weight, of_bias, None, None


@lru_cache(maxsize=64)
def strip_rows(height: int, width: int) -> int | None:
    """How many rows of a map are summed together, a part that goes into its height; None where none does."""
    parts = [rows for rows in range(2, height) if height % rows == 0]
    return max((rows for rows in parts if rows * width <= STRIP), default=min(parts, default=None))


def _moments(x: torch.Tensor, groups: int, eps: float, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / standard deviation, (B, G) each, of strips of rows, and these put together."""
    batch, channels, _, width = x.shape
    strips = x.permute(0, 2, 3, 1).reshape(-1, rows, width, channels).permute(0, 3, 1, 2)
    _, means, scales = torch.native_group_norm(strips, None, None, len(strips), channels, rows * width, groups, eps)
    means, variances = (of.double().view(batch, -1, groups) for of in (means, scales.double() ** -2 - eps))
    mean = means.mean(1)
    variance = (variances + (means - mean[:, None]) ** 2).mean(1).clamp_min(0)
    return mean.float(), ((variance + eps) ** -0.5).float()
