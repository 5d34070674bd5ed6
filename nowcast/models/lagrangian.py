"""Any network, guided by the motion of the rain: it forecasts growth and decay alone, advection does the moving.

The past is seen, and the future forecast, in coordinates that move with the rain (Germann and Zawadzki 2002,
doi 10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2). A network inside that starts as persistence makes this start as
Lagrangian persistence; learning then has nothing to spend on where the rain goes. Related: Ritvanen et al. 2023,
"Advection-free convolutional neural network for convective rainfall nowcasting", doi 10.1109/JSTARS.2023.3238016.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from nowcast import models
from nowcast.contracts import InputError
from nowcast.lessons import margin_of, train_forward
from nowcast.models._blocks import ResidualBlock, pad_to_multiple, start_at_zero
from nowcast.motion import advect, displacements, lucas_kanade

__all__ = ["Lagrangian"]

ALL_KNOWN = 0.9999  # share of the pixels that a carried one is made of; not 1, which rounding may miss


class Lagrangian(nn.Module):
    """Dense motion, past frames carried to the present, the network inside, its fields carried to their lead times.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. Motion is taken from the first channel
    and holds over all lead times. It is all differentiable.

    Nothing is known of air that comes from outside the grid. A past frame carried to the present takes there what the
    frame after it has, so that the network inside sees no change where none was observed; a forecast takes what
    `beyond` says.

    Args:
        past_frames: T_in, at least 2.
        steps: T_out.
        channels: C; the first is rain.
        outputs: fields at each lead time; None leaves it to the network inside.
        network: what forecasts the evolution: the name of a network, or {name: se_resunet, width: 32}.
        refine: whether a small network adds a residual motion, learned from what the optical flow left unaligned.
        beyond: what a forecast has where its air comes from outside the grid: what the nearest edge has (border), or
            nothing (zeros).

    Raises:
        InputError: with fewer than two past frames, or a network inside that has a margin.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        network: str | Mapping[str, Any] = "se_resunet",
        refine: bool = False,
        beyond: Literal["border", "zeros"] = "border",
    ) -> None:
        super().__init__()
        if past_frames < 2:
            raise InputError(f"Lagrangian needs at least 2 past frames to see motion, not {past_frames}")
        lengths = {"past_frames": past_frames, "steps": steps, "channels": channels}
        if outputs is not None:
            lengths["outputs"] = outputs
        self.network = models.create(network, **lengths)
        if margin_of(self.network):
            raise InputError(
                f"Lagrangian moves rain over whole maps, the network inside leaves out a margin of "
                f"{margin_of(self.network)} pixels; set its margin to 0"
            )
        if hasattr(self.network, "output"):
            self.output = self.network.output  # carried along, fields mean what they meant
        self.refinement = ResidualMotion(past_frames * channels) if refine else None
        self.steps, self.beyond = steps, beyond

    def forward(self, past: torch.Tensor, count: int | None = None) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, outputs, H, W); `count` is of members, if the network inside draws them."""
        return self.carry(*self.evolution(past, count))

    def train_forward(
        self, past: torch.Tensor, future: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The forecast in training and what the network inside adds to the loss, shown the future at its own places."""
        aligned, motion = self.align(past)
        fields, extra = train_forward(self.network, aligned, self.to_present(future, motion)[0], progress)
        return self.carry(fields, motion), extra

    def lesson(
        self, past: torch.Tensor, target: torch.Tensor, known: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forecast, target, known and extra loss, at the places of the present.

        One field a lead time is carried for it, the target, however many the forecast has.
        """
        aligned, motion = self.align(past)
        target, inside = self.to_present(target, motion)
        known = (self.to_present(known.to(past.dtype), motion)[0] > ALL_KNOWN) & inside
        fields, extra = train_forward(self.network, aligned, target, progress)
        return fields, target, known, extra

    def evolution(self, past: torch.Tensor, count: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network inside forecasts, at the places of the present, and the motion that carries it on.

        With `to_present` for the truth a loss can be taken here: one field a lead time is carried then, however many
        the forecast has.

        Returns:
            fields: (B, steps, outputs, H, W).
            motion: (B, 2, H, W), pixels a frame (down, right).
        """
        aligned, motion = self.align(past)
        return (self.network(aligned) if count is None else self.network(aligned, count)), motion

    def align(self, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Past frames carried to the present, (B, T_in, C, H, W), and the motion, (B, 2, H, W)."""
        with _exactly(past):
            frames = past.float() if past.dtype in (torch.bfloat16, torch.float16) else past
            motion = lucas_kanade(frames[:, :, 0])
            aligned = _carried_to_present(frames, motion)
        if self.refinement is None:
            return aligned.to(past.dtype), motion
        residual = self.refinement(aligned.to(past.dtype), motion.to(past.dtype))
        with _exactly(past):
            motion = motion + residual.to(motion.dtype)
            return _carried_to_present(frames, motion).to(past.dtype), motion

    def carry(self, fields: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        """Fields of the present's places carried to their lead times, (B, steps, outputs, H, W)."""
        with _exactly(fields):
            carried, _ = advect(fields.to(motion.dtype), displacements(motion, fields.shape[1]), self.beyond)
        return carried.to(fields.dtype)

    def to_present(self, future: torch.Tensor, motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames of the future carried back to the present's places, and where these do not leave the grid.

        Args:
            future: (B, steps, C, H, W), such as scaled truth, or 1 where it is known.
            motion: (B, 2, H, W), as `evolution` gives.

        Returns:
            (B, steps, C, H, W), and (B, steps, 1, H, W), bool.
        """
        with _exactly(future):
            carried, inside = advect(future.to(motion.dtype), displacements(-motion, future.shape[1]))
        return carried.to(future.dtype), inside


class ResidualMotion(nn.Module):
    """A small network from aligned frames and their motion to a residual motion; untrained it is zero.

    It looks at cells of 4 pixels, each of them a channel, and answers for cells of 8, between which motion is linear.

    Args:
        frames: T_in · C.
        width: channels.
    """

    def __init__(self, frames: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ResidualBlock(16 * frames + 2, width, _no_attention),
            nn.AvgPool2d(2),
            ResidualBlock(width, width, _no_attention),
            ResidualBlock(width, width, _no_attention),
            start_at_zero(nn.Conv2d(width, 2, 1)),
        )

    def forward(self, aligned: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        """(B, T_in, C, H, W) and (B, 2, H, W) → (B, 2, H, W), pixels a frame (down, right)."""
        height, width = motion.shape[-2:]
        pixels = F.pixel_unshuffle(pad_to_multiple(rearrange(aligned, "b t c h w -> b (t c) h w"), 8), 4)
        cells = F.avg_pool2d(pad_to_multiple(motion, 8), 4) / 10  # tens of pixels, of the order of one
        residual = self.layers(torch.cat([pixels, cells], dim=1))
        return F.interpolate(residual, scale_factor=8, mode="bilinear", align_corners=False)[..., :height, :width]


def _carried_to_present(past: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Frames (B, T_in, C, H, W) at the places of the last; where air comes from outside, as the frame after."""
    carried, inside = advect(past[:, :-1].flip(1), displacements(motion, past.shape[1] - 1))
    aligned = [past[:, -1]]
    for frame, from_inside in zip(carried.unbind(1), inside.unbind(1), strict=True):
        aligned.append(torch.where(from_inside, frame, aligned[-1]))
    return torch.stack(aligned[::-1], dim=1)


def _exactly(like: torch.Tensor) -> torch.autocast:
    """No autocast: places of pixels need more digits than half precision has."""
    return torch.autocast(like.device.type, enabled=False)


def _no_attention(channels: int) -> nn.Module:
    return nn.Identity()
