"""MetNet: every lead time forecast by itself, by a network that is told which one it is.

Sønderby et al. 2020, arXiv 2003.12140; conditioning by FiLM as in MetNet-2, Espeholt et al. 2022, doi
10.1038/s41467-022-32483-x, after Perez et al. 2018, arXiv 1709.07871. Inside `nowcast.models.bins` it forecasts
rain-rate bins as the paper does.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nowcast.contracts import InputError
from nowcast.models import _cells
from nowcast.models._blocks import (
    AttentionFactory,
    fields_a_frame,
    group_norm,
    pad_to_multiple,
    per_stage,
    start_at_zero,
)
from nowcast.models._cells._unroll import each_frame, unroll

__all__ = ["MetNet"]

Conditioning = Literal["one_hot", "film"]


class MetNet(nn.Module):
    """Space to depth, convolutions down, a recurrent cell over the past, axial attention over the map, depth to space.

    (B, past_frames, C, H, W) → (B, steps, outputs, H − 2·margin, W − 2·margin), scaled, any H and W. Lead times stand
    side by side in the batch. With `residual` the network adds to the last past frame and its last convolution starts
    at zero: untrained it is persistence.

    Args:
        past_frames: T_in; the weights do not depend on it.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        widths: channels of the downsampler (160, 256 in the paper): one convolution before the first pooling, three
            before each other; features are 2^(1 + number of widths) times coarser than the maps.
        hidden: channels of the recurrent cell and all that follows (384 in the paper).
        cell: reads the past: "conv_lstm", "conv_gru" or another cell, or {name: …, option: …}.
        attention: of the blocks of the aggregator, by name, or a list with one for each block (axial attention without
            positions; 8 blocks in the paper).
        blocks: of the aggregator.
        conditioning: "one_hot" puts the lead time as constant maps beside the input, as in the paper, so that all
            layers run for each lead time; "film" scales and shifts features by it after the recurrent cell, which
            then reads the past once for all lead times.
        margin: pixels on each side that are seen and not forecast: a large patch in, its centre out.
        leads_at_once: lead times of one pass; None is all.
        residual: whether the last past frame is added to the output.
        checkpointing: whether each pass is repeated for the backward one; memory is then that of `leads_at_once`.

    Raises:
        InputError: for sizes below 1, another conditioning, or maps without a centre.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        widths: Sequence[int] = (32, 64),
        hidden: int = 64,
        cell: Any = "conv_lstm",
        attention: Any = "axial_package",
        blocks: int = 2,
        conditioning: Conditioning = "one_hot",
        margin: int = 0,
        leads_at_once: int | None = None,
        residual: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not widths or min(*widths, hidden, blocks, leads_at_once or 1) < 1 or margin < 0:
            raise InputError(
                f"MetNet needs widths, hidden, blocks and leads_at_once of at least 1 and no negative margin, not "
                f"{list(widths)}, {hidden}, {blocks}, {leads_at_once} and {margin}"
            )
        if conditioning not in ("one_hot", "film"):
            raise InputError(f"MetNet has no conditioning {conditioning!r}; it has one_hot and film")
        self.steps, self.margin, self.residual, self.checkpointing = steps, margin, residual, checkpointing
        self.leads_at_once = leads_at_once or steps
        self.fields, self.multiple = fields_a_frame(channels, outputs, residual), 2 ** (1 + len(widths))
        self.planes = steps if conditioning == "one_hot" else 0
        self.downsample = downsampler(4 * channels + self.planes, widths)
        self.cell = _cells.create(cell, widths[-1], hidden, None, "hidden")
        self.aggregate = nn.ModuleList(
            AxialBlock(hidden, factory, None if self.planes else steps) for factory in per_stage(attention, blocks)
        )
        head = nn.Conv2d(hidden, self.fields * self.multiple**2, 1)
        self.head = start_at_zero(head) if residual else head

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        height, width = past.shape[-2:]
        rows, columns = slice(self.margin, height - self.margin), slice(self.margin, width - self.margin)
        if min(height, width) <= 2 * self.margin:
            raise InputError(f"maps of {height}×{width} have no centre inside of a margin of {self.margin} pixels")
        frames = self._to_depth(past)
        if not self.planes:
            frames = self._read(frames)
        passes = [
            checkpoint(self._at, frames, leads, use_reentrant=False)
            if self.checkpointing and torch.is_grad_enabled()
            else self._at(frames, leads)
            for leads in torch.arange(self.steps, device=past.device).split(self.leads_at_once)
        ]
        whole = torch.cat(passes, dim=1) if len(passes) > 1 else passes[0]
        change = whole[..., :height, :width][..., rows, columns]
        return past[:, -1:, :, rows, columns] + change if self.residual else change

    def _to_depth(self, past: torch.Tensor) -> torch.Tensor:
        """(B, T, C, H, W) → (B, T, 4·C, H / 2, W / 2) of the padded map."""
        padded = pad_to_multiple(rearrange(past, "b t c h w -> (b t) c h w"), self.multiple)
        return rearrange(F.pixel_unshuffle(padded, 2), "(b t) c h w -> b t c h w", t=past.shape[1])

    def _read(self, frames: torch.Tensor) -> torch.Tensor:
        """What the past leaves in the cell: (N, T, C', H / 2, W / 2) → (N, hidden, h, w)."""
        features = each_frame(self.downsample, frames)
        _, state = unroll(self.cell, features, self.cell.begin(features[:, 0]), features.shape[1])
        return state[0]

    def _at(self, given: torch.Tensor, leads: torch.Tensor) -> torch.Tensor:
        """(B, L, outputs, H, W) at L lead times, given frames to read, or what was read of them."""
        batch, many = len(given), len(leads)
        x = repeat(given, "b ... -> (b l) ...", l=many)
        of_each = leads.repeat(batch)
        if self.planes:
            planes = F.one_hot(of_each, self.planes).to(x.dtype)[:, None, :, None, None]
            x = self._read(torch.cat([x, planes.expand(-1, x.shape[1], -1, *x.shape[-2:])], dim=2))
        for block in cast(Iterable[AxialBlock], self.aggregate):
            x = block(x, of_each)
        fields = F.pixel_shuffle(self.head(x), self.multiple)
        return rearrange(fields, "(b l) c h w -> b l c h w", l=many)


class AxialBlock(nn.Module):
    """Attention over the map, then two 1×1 convolutions, each added to what comes in: (N, C, H, W) → (N, C, H, W).

    Args:
        channels: C.
        attention: builds the attention.
        leads: number of lead times by which channels are scaled and shifted first (FiLM); None for not at all.
    """

    def __init__(self, channels: int, attention: AttentionFactory, leads: int | None) -> None:
        super().__init__()
        self.film = nn.Embedding(leads, 2 * channels) if leads else None
        if self.film is not None:
            start_at_zero(self.film)
        self.attend = nn.Sequential(group_norm(channels), attention(channels))
        self.mix = nn.Sequential(
            group_norm(channels), nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, x: torch.Tensor, leads: torch.Tensor) -> torch.Tensor:
        if self.film is not None:
            scale, shift = self.film(leads)[:, :, None, None].chunk(2, dim=1)
            x = x * (1 + scale) + shift
        x = x + self.attend(x)
        return x + self.mix(x)


def downsampler(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """3×3 convolutions, one of the first width and three of each other, with pooling after each width."""
    layers: list[nn.Module] = []
    for stage, width in enumerate(widths):
        for _ in range(3 if stage else 1):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), group_norm(width), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
