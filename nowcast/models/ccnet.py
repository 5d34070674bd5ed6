"""CCNet for fields of rain: a residual encoder, recurrent criss-cross attention at its bottom, and a decoder.

Huang, Wang, Wei, Huang, Shi, Liu and Huang 2019, arXiv 1811.11721; the decoder is that of a U-Net.
"""

from typing import Any

import torch
from torch import nn

from nowcast import attention as library
from nowcast.contracts import InputError
from nowcast.models._blocks import ResidualBlock, fields_a_frame, group_norm, per_stage
from nowcast.models._unet import UNet, steps_back, steps_between

__all__ = ["CCNet"]


class CCNet(UNet):
    """Frames stacked as channels are encoded, every pixel of the coarse map gathers from all others, and up they go.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. With `residual` the network adds to the
    last past frame and its last convolution starts at zero: untrained it is persistence.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of the first level; each level down has twice as many.
        depth: levels below the first, 3 in the paper (maps of 1/8 size); sizes are padded to a multiple of 2^depth.
        blocks: residual blocks a stage.
        recurrence: passes R of the criss-cross attention; with 2, as in the paper, any two pixels are joined.
        reduction: ratio of the width of its queries and keys, 8 in the paper.
        attention: of the residual blocks by name, or a list with one for each stage: `depth` of the encoder from the
            top, the bottom, `depth` of the decoder from below.
        residual: whether the last past frame is added to the output.

    Raises:
        InputError: for sizes below 1 or a list of another length.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 32,
        depth: int = 3,
        blocks: int = 2,
        recurrence: int = 2,
        reduction: int = 8,
        attention: Any = None,
        residual: bool = True,
    ) -> None:
        if min(width, depth, blocks) < 1:
            raise InputError(f"CCNet needs width, depth and blocks of at least 1, not {width}, {depth} and {blocks}")
        widths = [width * 2**level for level in range(depth + 1)]
        factories = per_stage(attention, 2 * depth + 1)

        def residual_blocks(inputs: int, outputs: int) -> nn.Sequential:
            factory = factories.pop(0)
            return nn.Sequential(
                ResidualBlock(inputs, outputs, factory),
                *(ResidualBlock(outputs, outputs, factory) for _ in range(blocks - 1)),
            )

        encoder = [residual_blocks(*ends) for ends in steps_between(past_frames * channels, widths)]
        encoder[-1].append(RecurrentCrissCross(widths[-1], widths[-1], recurrence, reduction))
        super().__init__(
            down=encoder,
            skips=[nn.Identity() for _ in range(depth)],
            up=[residual_blocks(*ends) for ends in steps_back(widths)],
            head=nn.Conv2d(width, steps * fields_a_frame(channels, outputs, residual), 1),
            steps=steps,
            frames=steps,
            residual=residual,
        )


class RecurrentCrissCross(nn.Module):
    """The paper's head: narrow, attend R times along rows and columns, and join the result with what came in.

    (B, C, H, W) → (B, C', H, W).

    Args:
        channels: C; attention has a quarter of them.
        width: C'.
        recurrence: R.
        reduction: ratio of the width of queries and keys.
    """

    def __init__(self, channels: int, width: int, recurrence: int = 2, reduction: int = 8) -> None:
        super().__init__()
        inner = max(channels // 4, 2)
        criss_cross = library.create("criss_cross", inner, recurrence=recurrence, reduction=min(reduction, inner))
        self.branch = nn.Sequential(convolved(channels, inner), criss_cross, convolved(inner, inner))
        self.join = convolved(channels + inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.join(torch.cat([x, self.branch(x)], dim=1))
        return joined


def convolved(channels: int, width: int) -> nn.Sequential:
    """A 3×3 convolution with norm and leaky ReLU, whose slope is that of the authors' code."""
    norm = group_norm(width, most=min(8, width // 2))  # of two channels at least, since a map may be one pixel
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), norm, nn.LeakyReLU(0.01, inplace=True))
