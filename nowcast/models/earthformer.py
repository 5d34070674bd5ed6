"""Earthformer: a space-time transformer of cuboid attention with global vectors, encoder and decoder in levels.

Gao, Shi, Wang, Zhu, Wang, Li and Yeung 2022, arXiv 2207.05833.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from torch import nn
from torch.utils.checkpoint import checkpoint

from nowcast.contracts import InputError
from nowcast.models._blocks import fields_a_frame, pad_to_multiple, per_stage, start_at_zero
from nowcast.models._cuboid import PATTERNS, Cuboid, CuboidAttention, FramesAttention, perceptron
from nowcast.models._patches import Grow, Merge, Shrink, as_maps, convolutions, framewise
from nowcast.models._unet import steps_between

__all__ = ["Earthformer"]

REACH = 32  # offsets of rows and columns that attention tells apart


class Earthformer(nn.Module):
    """Small patches of all frames attend to one another in cuboids; each lead time asks the past frames at its place.

    (B, past_frames, C, H, W) → (B, steps, outputs, H, W), scaled, any H and W. Each encoder level is half as large and
    twice as wide as the one before. The decoder starts from a learned vector a lead time at the coarsest level. Unlike
    the authors', places are known to it by offset alone, so that crops and whole frames look the same. With `residual`
    it adds to the last past frame and its last layer starts at zero: untrained it is persistence.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C.
        outputs: fields at each lead time; None is C. Where there are others than C, C is 1.
        stem: factor and width of each step down by convolutions before the first level, which is as wide as the last of
            them; [[2, 64]] for MovingMNIST in the paper, [[3, 16], [2, 64], [2, 128]] for SEVIR.
        blocks: of each level, from the first, in encoder and decoder alike; [4, 4] for MovingMNIST.
        heads: number of attention heads.
        vectors: number of global vectors of the encoder, 8 in the paper, or 0.
        pattern: cuts that take turns in a block: "axial" (the paper's best: time, columns, rows), "divided" (time,
            then all of a frame), "local_dilated" (time, windows, dilated windows) or "shifted" (windows of two frames).
        attention: of the frames behind each level by name, or a list with one for each: encoder levels from the first,
            then decoder levels back to it. None in the paper.
        checkpointing: whether blocks are computed again in the backward pass to save memory.
        residual: whether the last past frame is added to the output.

    Raises:
        InputError: for sizes that do not fit one another, a list of another length, or outputs that cannot be added to.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        outputs: int | None = None,
        stem: Sequence[tuple[int, int]] = ((2, 64),),
        blocks: Sequence[int] = (4, 4),
        heads: int = 4,
        vectors: int = 8,
        pattern: Literal["axial", "divided", "local_dilated", "shifted"] = "axial",
        attention: Any = None,
        checkpointing: bool = False,
        residual: bool = True,
    ) -> None:
        super().__init__()
        if not stem or not blocks or min(*blocks, *(min(step) for step in stem)) < 1:
            raise InputError(
                "Earthformer needs steps of a factor and a width, [[2, 64]], and levels of 1 or more blocks, [4, 4], "
                f"not {stem} and {blocks}"
            )
        factors, stem_widths = [factor for factor, _ in stem], [width for _, width in stem]
        if stem_widths[-1] % heads:
            raise InputError(f"Earthformer of width {stem_widths[-1]}: {heads} heads do not divide it")
        self.residual, levels, cuboids = residual, len(blocks), PATTERNS[pattern]
        self.multiple = math.prod(factors) * 2 ** (levels - 1)
        widths = [stem_widths[-1] * 2**level for level in range(levels)]
        ends = list(zip(steps_between(channels, stem_widths), factors, strict=True))
        self.stem = nn.Sequential(*(Shrink(i, o, factor) for (i, o), factor in ends))
        self.past_places = nn.Parameter(0.02 * torch.randn(past_frames, 1, 1, widths[0]))
        self.lead_places = nn.Parameter(0.02 * torch.randn(steps, 1, 1, widths[-1]))
        self.vectors = nn.Parameter(0.02 * torch.randn(vectors, widths[0])) if vectors else None
        gates = per_stage(attention, 2 * levels)
        writers = sum(blocks) * len(cuboids) - 1  # nobody would read what the very last layer wrote to the vectors
        encoder: list[EncoderLevel] = []
        for width, count, gate in zip(widths, blocks, gates[:levels], strict=True):
            before = sum(len(stage.layers) for stage in encoder)
            layers = [
                Layer(width, heads, cuboid, past_frames, bool(vectors), bool(vectors) and number < writers)
                for number, cuboid in enumerate(cuboids * count, start=before)
            ]
            encoder.append(EncoderLevel(layers, gate(width), checkpointing))
        self.encoder = nn.ModuleList(encoder)
        self.merge = nn.ModuleList(Merge(before, 2 * before, 2) for before in widths[:-1])
        self.widen = nn.ModuleList(nn.Linear(before, 2 * before) for before in widths[:-1] if vectors)
        decoder = []
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            # At the coarsest level nothing is there at first that could attend to itself.
            own = [cuboids if level < levels - 1 or block else () for block in range(count)]
            decoder_blocks = [
                DecoderBlock(
                    [Layer(width, heads, cuboid, steps) for cuboid in turns],
                    FramesAttention(width, heads, past_frames, steps),
                )
                for turns in own
            ]
            decoder.append(DecoderLevel(decoder_blocks, gates[-1 - level](width), checkpointing))
        self.decoder = nn.ModuleList(decoder)
        self.grow = nn.ModuleList(Grow(2 * after, after, 2) for after in widths[:-1])
        ends = list(zip(steps_between(stem_widths[0], stem_widths), factors, strict=True))
        self.tail = nn.Sequential(
            *(nn.Sequential(Grow(i, i, factor), *convolutions(i, o)) for (o, i), factor in reversed(ends))
        )
        self.head = nn.Conv2d(stem_widths[0], fields_a_frame(channels, outputs, residual), 1)
        if residual:
            start_at_zero(self.head)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        (height, width), samples = past.shape[-2:], past.shape[0]
        x = self.stem(pad_to_multiple(rearrange(past, "b t c h w -> (b t) c h w"), self.multiple))
        x = self._decode(self._encode(rearrange(x, "(b t) c h w -> b t h w c", b=samples) + self.past_places))
        x = self.head(self.tail(as_maps(x)))[..., :height, :width]
        change = rearrange(x, "(b t) c h w -> b t c h w", b=samples)
        return past[:, -1:] + change if self.residual else change

    def _encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Past frames (B, T_in, H, W, C) at every level."""
        vectors = None if self.vectors is None else self.vectors.expand(x.shape[0], -1, -1)
        memory = []
        for level, stage in enumerate(self.encoder):
            if level:
                x = self.merge[level - 1](x)
                vectors = None if vectors is None else self.widen[level - 1](vectors)
            x, vectors = stage(x, vectors)
            memory.append(x)
        return memory

    def _decode(self, memory: list[torch.Tensor]) -> torch.Tensor:
        """Lead times (B, T_out, H, W, C) at the first level, from past frames at every level."""
        samples, _, height, width, _ = memory[-1].shape
        x = self.lead_places.expand(-1, height, width, -1).expand(samples, -1, -1, -1, -1)
        for level in reversed(range(len(memory))):
            x = self.decoder[level](x, memory[level])
            if level:
                x = framewise(self.grow[level - 1], x)
        return x


class Layer(nn.Module):
    """Cuboid attention, then a perceptron: x (B, T, H, W, C) and global vectors (B, G, C) → the same."""

    def __init__(
        self, channels: int, heads: int, cuboid: Cuboid, frames: int, reads: bool = False, writes: bool = False
    ) -> None:
        super().__init__()
        self.attention = CuboidAttention(channels, heads, cuboid, (frames, REACH, REACH), reads, writes)
        self.perceptron = perceptron(channels)

    def forward(self, x: torch.Tensor, vectors: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        change, of_vectors = self.attention(x, vectors)
        x = x + change
        return x + self.perceptron(x), vectors if vectors is None or of_vectors is None else vectors + of_vectors


class EncoderLevel(nn.Module):
    """Layers, then attention over the map of each frame: past frames and global vectors → the same."""

    def __init__(self, layers: Sequence[Layer], gate: nn.Module, checkpointing: bool) -> None:
        super().__init__()
        self.layers, self.gate, self.checkpointing = nn.ModuleList(layers), gate, checkpointing

    def forward(self, x: torch.Tensor, vectors: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        for layer in self.layers:
            x, vectors = run(layer, x, vectors, again=self.checkpointing)
        return framewise(self.gate, x), vectors


class DecoderBlock(nn.Module):
    """Layers among lead times, then a look at the past frames: x (B, T_out, H, W, C), memory (B, T_in, H, W, C) → x."""

    def __init__(self, layers: Sequence[Layer], ask: FramesAttention) -> None:
        super().__init__()
        self.layers, self.ask = nn.ModuleList(layers), ask

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return self.ask(x, memory)


class DecoderLevel(nn.Module):
    """Blocks, then attention over the map of each lead time: lead times and past frames → lead times."""

    def __init__(self, blocks: Sequence[DecoderBlock], gate: nn.Module, checkpointing: bool) -> None:
        super().__init__()
        self.blocks, self.gate, self.checkpointing = nn.ModuleList(blocks), gate, checkpointing

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = run(block, x, memory, again=self.checkpointing)
        return framewise(self.gate, x)


def run(module: nn.Module, *inputs: torch.Tensor | None, again: bool) -> Any:
    """module(*inputs), computed again in the backward pass where that is to save memory."""
    if again and torch.is_grad_enabled():
        return checkpoint(module, *inputs, use_reentrant=False)
    return module(*inputs)
