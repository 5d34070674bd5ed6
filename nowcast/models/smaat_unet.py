"""SmaAt-UNet: a small U-Net of depthwise-separable convolutions with attention on what goes beside.

Trebing, Stańczyk and Mehrkanoon 2021, arXiv 2007.04417.
"""

from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.models._blocks import fields_a_frame, group_norm, per_stage
from nowcast.models._rollout import frames_a_pass
from nowcast.models._unet import UNet, steps_between

__all__ = ["SmaAtUNet"]

# The authors' module; its batch norm of one channel is left out, since a batch of one dry pixel has no variance.
CBAM = {"name": "cbam", "norm": False}


class SmaAtUNet(UNet):
    """A U-Net that is a quarter of the size: each 3×3 convolution is one a channel, then one of 1×1.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. The way down goes on without attention;
    what goes beside and what leaves the bottleneck passes through it. The bottleneck is as wide as the level above it.
    With `residual` it adds to the last past frame and its last convolution starts at zero: untrained it is
    persistence. Unlike the authors' it has group norms, and doubles maps by centres of pixels, not by corners.

    Args:
        past_frames: T_in; 12 in the paper.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of the first level, 64 in the paper; each level down has twice as many, but for the last.
        depth: levels below the first, 4 in the paper; sizes are padded to a multiple of 2^depth inside.
        kernels: maps that the convolution of one channel makes of it, 2 in the paper.
        attention: of the levels by name, CBAM in the paper and by default, or a list of depth + 1 with
            one for each level from the top to the bottleneck.
        rollout: frames that one pass makes, fed back as past until there are `steps`; None makes all in one pass.
        residual: whether the last past frame is added to the output.

    Raises:
        InputError: for sizes below 1, a list of another length, or outputs that cannot be fed back or added to.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 64,
        depth: int = 4,
        kernels: int = 2,
        attention: Any = CBAM,
        rollout: int | None = None,
        residual: bool = True,
    ) -> None:
        if depth < 1 or width < 1 or kernels < 1:
            raise InputError(
                f"SmaAtUNet needs depth, width and kernels of at least 1, not {depth}, {width} and {kernels}"
            )
        widths = [width * 2 ** min(level, depth - 1) for level in range(depth + 1)]
        frames = frames_a_pass(rollout, steps, channels, outputs)
        *gates, last_gate = per_stage(attention, depth + 1)
        *down, bottleneck = (double(i, o, o, kernels) for i, o in steps_between(past_frames * channels, widths))
        super().__init__(
            # Nothing else leaves the bottleneck, so its attention can stand in it.
            down=[*down, nn.Sequential(bottleneck, last_gate(widths[-1]))],
            skips=[gate(beside) for gate, beside in zip(gates, widths, strict=False)],
            up=[
                double(2 * widths[level], widths[level], widths[max(level - 1, 0)], kernels)
                for level in reversed(range(depth))
            ],
            head=nn.Conv2d(width, frames * fields_a_frame(channels, outputs, residual), 1),
            steps=steps,
            frames=frames,
            residual=residual,
        )


def double(inputs: int, middle: int, outputs: int, kernels: int) -> nn.Sequential:
    """Twice a depthwise-separable 3×3 convolution, norm and ReLU."""
    return nn.Sequential(*separable(inputs, middle, kernels), *separable(middle, outputs, kernels))


def separable(inputs: int, outputs: int, kernels: int) -> list[nn.Module]:
    """A 3×3 convolution that makes `kernels` maps of each channel, one of 1×1 that mixes them, norm and ReLU."""
    return [
        Depthwise(inputs, kernels * inputs, 3, padding=1, groups=inputs),
        Pointwise(kernels * inputs, outputs, kernels),
        group_norm(outputs),
        nn.ReLU(inplace=True),
    ]


class Depthwise(nn.Conv2d):
    """Some maps of each channel: (B, C, H, W) → (B, kernels·C, H, W), for `Pointwise` to mix.

    Libraries are fast where a channel makes one map, so in training each kernel is a convolution of its own: forward
    and back, 24 channels of 4 × 128² on a CPU, that is 3 times faster, in bfloat16 8 times. Forecasts gain nothing.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not kernel_by_kernel():
            return super().forward(x)
        kernels = self.out_channels // self.in_channels
        assert self.bias is not None
        weights, biases = (own.unflatten(0, (-1, kernels)).unbind(1) for own in (self.weight, self.bias))
        made = [self._conv_forward(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]
        return torch.cat(made, dim=1)


class Pointwise(nn.Conv2d):
    """A 1×1 convolution of what `Depthwise` makes.

    Args:
        channels: kernels·C.
        outputs: C_out.
        kernels: maps of each channel.
    """

    def __init__(self, channels: int, outputs: int, kernels: int) -> None:
        super().__init__(channels, outputs, 1)
        self.kernels = kernels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not kernel_by_kernel():
            return super().forward(x)
        weight = rearrange(self.weight, "o (c kernels) h w -> o (kernels c) h w", kernels=self.kernels)
        return F.conv2d(x, weight, self.bias)


def kernel_by_kernel() -> bool:
    """Whether the first maps of all channels come first, then the second, instead of those of a channel together."""
    return torch.is_grad_enabled()
