"""The frame of the U-shaped networks: they differ in their stages, not in the way through them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast.models._blocks import pad_to_multiple, start_at_zero
from nowcast.models._rollout import roll_out


class UNet(nn.Module):
    """Frames stacked as channels go down the stages and up again; a head makes the fields of some lead times of them.

    (B, T_in, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W.

    Args:
        down: stages on the way down, from the top; maps are halved between them, and the last is the bottleneck.
        skips: what happens to the outputs of the others on their way beside, from the top.
        up: stages on the way up, each of which sees what comes from below and, after it, what comes from beside.
        head: makes `frames` × outputs channels.
        steps: T_out.
        frames: lead times of one pass; forecasts are fed back where there are fewer than steps.
        residual: whether the last past frame is added to the output; the last layer of the head then starts at zero.
        interpolation: how maps are doubled.
    """

    def __init__(
        self,
        down: Iterable[nn.Module],
        skips: Iterable[nn.Module],
        up: Iterable[nn.Module],
        head: nn.Module,
        steps: int,
        frames: int,
        residual: bool,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
    ) -> None:
        super().__init__()
        self.down, self.skips, self.up = nn.ModuleList(down), nn.ModuleList(skips), nn.ModuleList(up)
        self.head = head
        self.steps, self.frames, self.residual, self.interpolation = steps, frames, residual, interpolation
        if residual:
            start_at_zero(head[-1] if isinstance(head, nn.Sequential) else head)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return roll_out(self._once, past, self.steps)

    def _once(self, past: torch.Tensor) -> torch.Tensor:
        height, width = past.shape[-2:]
        x = pad_to_multiple(rearrange(past, "b t c h w -> b (t c) h w"), 2 ** len(self.up))
        x = self.head(self._through(x))[..., :height, :width]
        # Map after map: what reads the lead times one by one, such as a loss, would find them interleaved.
        change = rearrange(x, "b (t c) h w -> b t c h w", t=self.frames).contiguous()
        return past[:, -1:] + change if self.residual else change

    def _through(self, x: torch.Tensor) -> torch.Tensor:
        beside = []
        for stage, skip in zip(self.down[:-1], self.skips, strict=True):
            x = stage(x)
            beside.append(skip(x))
            x = F.max_pool2d(x, 2)
        x = self.down[-1](x)
        corners = False if self.interpolation == "bilinear" else None
        for stage in self.up:
            x = F.interpolate(x, scale_factor=2, mode=self.interpolation, align_corners=corners)
            x = stage(torch.cat([x, beside.pop()], dim=1))
        return x


def steps_between(first: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """Channels that go into and come out of each stage on the way down, from those of the input and the widths."""
    return list(zip([first, *widths[:-1]], widths, strict=True))


def steps_back(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Channels that go into and come out of each stage on the way up, where it makes as many as it sees beside."""
    return [(below + beside, beside) for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)]
