"""SE-ResUNet: a U-Net of residual blocks with squeeze-and-excitation, all lead times at once.

Song, Yang, Wang, Zhang, Li and Wang 2019, "Deep learning prediction of incoming rainfalls: an operational service for
the city of Beijing China", ICDMW, doi 10.1109/ICDMW.2019.00036.
"""

from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.models._blocks import ResidualBlock, pad_to_multiple, per_stage

__all__ = ["SEResUNet"]


class SEResUNet(nn.Module):
    """Frames stacked as channels go down `depth` levels and up again; a last convolution gives every lead time.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. With `residual` the network adds to the
    last past frame and its last convolution starts at zero: untrained it is persistence.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        width: channels of the first level; each level down has twice as many.
        depth: levels below the first; sizes are padded to a multiple of 2^depth inside.
        attention: of every residual block by name ("se" in the paper, null for none), or a list with one for each
            stage: depth + 1 on the way down, then depth on the way up.
        blocks: residual blocks a stage.
        residual: whether the last past frame is added to the output.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        width: int = 32,
        depth: int = 4,
        attention: Any = "se",
        blocks: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1 or width < 1 or blocks < 1:
            raise InputError(
                f"SEResUNet needs depth, width and blocks of at least 1, not {depth}, {width} and {blocks}"
            )
        self.steps, self.residual, self.multiple = steps, residual, 2**depth
        factories = per_stage(attention, 2 * depth + 1)
        widths = [width * 2**level for level in range(depth + 1)]

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            factory = factories.pop(0)
            return nn.Sequential(
                ResidualBlock(inputs, outputs, factory),
                *(ResidualBlock(outputs, outputs, factory) for _ in range(blocks - 1)),
            )

        self.down = nn.ModuleList(
            stage(inputs, outputs) for inputs, outputs in zip([past_frames * channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            stage(below + beside, beside) for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(width, steps * (outputs or channels), 1)
        if residual:
            for weight in self.head.parameters():
                nn.init.zeros_(weight)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        height, width = past.shape[-2:]
        x = pad_to_multiple(rearrange(past, "b t c h w -> b (t c) h w"), self.multiple)
        kept = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        kept.pop()
        for stage in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, kept.pop()], dim=1))
        change = rearrange(self.head(x)[..., :height, :width], "b (t c) h w -> b t c h w", t=self.steps)
        return past[:, -1:] + change if self.residual else change
