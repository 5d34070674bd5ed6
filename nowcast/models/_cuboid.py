"""Cuboid attention: pixels of a space-time block attend to one another and to a few vectors that see everything.

Gao et al. 2022 (Earthformer), arXiv 2207.05833, section 3.1.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional as F

Sizes = tuple[int, int, int]
HIDDEN = -1e4  # what is added to a score that must not count; unlike −inf it leaves a row of nothing else finite


@dataclass(frozen=True)
class Cuboid:
    """How a block of (T, H, W) is cut: into cuboids of `size` (None: the whole axis), side by side or interleaved.

    Args:
        size: frames, rows and columns of a cuboid.
        dilated: whether a cuboid takes every n-th pixel in space instead of n neighbours.
        shifted: whether the cut is moved by half a cuboid, as in Swin transformers; nothing attends across the seam.
    """

    size: tuple[int | None, int | None, int | None]
    dilated: bool = False
    shifted: bool = False


# Cuts that take turns in a block of layers; the paper found the axial one best.
PATTERNS: dict[str, tuple[Cuboid, ...]] = {
    "axial": (Cuboid((None, 1, 1)), Cuboid((1, None, 1)), Cuboid((1, 1, None))),
    "divided": (Cuboid((None, 1, 1)), Cuboid((1, None, None))),
    "local_dilated": (Cuboid((None, 1, 1)), Cuboid((1, 4, 4)), Cuboid((1, 4, 4), dilated=True)),
    "shifted": (Cuboid((2, 8, 8)), Cuboid((2, 8, 8), shifted=True)),
}


class Cut:
    """A cuboid pattern laid over one block: where its pixels go and which of them may see which.

    Args:
        cuboid: the pattern.
        shape: T, H and W of the block.
        device: of the maps.
    """

    def __init__(self, cuboid: Cuboid, shape: Sizes, device: torch.device) -> None:
        self.shape, self.device = shape, device
        axes = [(min(size or length, length), length) for size, length in zip(cuboid.size, shape, strict=True)]
        self.size = [size for size, _ in axes]
        self.padding = [-length % size for size, length in axes]
        self.shift = [size // 2 if cuboid.shifted and size < length else 0 for size, length in axes]
        inside = "(nt bt) (bh nh) (bw nw)" if cuboid.dilated else "(nt bt) (nh bh) (nw bw)"
        self.block, self.cuboids = f"b {inside} c", "b (nt nh nw) (bt bh bw) c"
        self.counts = dict(zip(("bt", "bh", "bw"), self.size, strict=True))

    def apart(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, H, W, C) → (B, cuboids, pixels of one, C)."""
        if any(self.padding):
            frames, rows, columns = self.padding
            x = F.pad(x, (0, 0, 0, columns, 0, rows, 0, frames))
        if any(self.shift):
            x = x.roll([-shift for shift in self.shift], dims=(1, 2, 3))
        return rearrange(x, f"{self.block} -> {self.cuboids}", **self.counts)

    def together(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of `apart`."""
        lengths = [length + padding for length, padding in zip(self.shape, self.padding, strict=True)]
        numbers = [length // size for length, size in zip(lengths, self.size, strict=True)]
        counts = self.counts | dict(zip(("nt", "nh", "nw"), numbers, strict=True))
        x = rearrange(x, f"{self.cuboids} -> {self.block}", **counts)
        if any(self.shift):
            x = x.roll(self.shift, dims=(1, 2, 3))
        frames, rows, columns = self.shape
        return x[:, :frames, :rows, :columns]

    def real(self) -> torch.Tensor | None:
        """Which pixels of all cuboids, in order, are no padding: (N,); None if none is."""
        if not any(self.padding):
            return None
        return self.apart(torch.ones(1, *self.shape, 1, device=self.device)).flatten() > 0

    def allowed(self) -> torch.Tensor | None:
        """Which pixels see which, (cuboids, pixels, pixels); None where all do."""
        if not any(self.padding) and not any(self.shift):
            return None
        # Padding is region 0; the seam of a shifted cut parts what lies before it from what lies behind.
        region = torch.ones(1, *self.shape, 1, device=self.device)
        for axis, shift in enumerate(self.shift):
            if shift:
                index = torch.arange(self.shape[axis], device=self.device)
                before = rearrange(index < shift, "n -> n" + " 1" * (3 - axis))
                region = region + before * 2 ** (axis + 1)
        region = self.apart(region)[0, ..., 0]
        mine, other = region.unsqueeze(2), region.unsqueeze(1)
        return (mine == other) & (other > 0)


class CuboidAttention(nn.Module):
    """Multi-head self-attention within cuboids, by content and by relative place, and with global vectors.

    x (B, T, H, W, C), g (B, G, C) → what is to be added to each. Pixels attend to the pixels of their cuboid and to
    the global vectors, global vectors to all pixels and to one another. Both pass a norm before.

    Args:
        channels: C.
        heads: number of heads; it divides C.
        cuboid: which pixels attend to one another.
        most: offsets in T, H and W that are told apart; larger ones count as the largest.
        reads: whether pixels attend to global vectors.
        writes: whether these attend to pixels; without, what is to be added to them is nothing.
    """

    def __init__(
        self, channels: int, heads: int, cuboid: Cuboid, most: Sizes, reads: bool = False, writes: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.cuboid = heads, cuboid
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.bias = RelativeBias(heads, cuboid, most)
        self.vector_norm = nn.LayerNorm(channels) if reads else None
        self.vector_kv = nn.Linear(channels, 2 * channels, bias=False) if reads else None
        self.vector_q = nn.Linear(channels, channels, bias=False) if writes else None
        self.vector_project = nn.Linear(channels, channels) if writes else None

    def forward(self, x: torch.Tensor, vectors: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        samples, frames, height, width, _ = x.shape
        cut = Cut(self.cuboid, (frames, height, width), x.device)
        apart = cut.apart(self.norm(x))
        cuboids = apart.shape[1]
        pattern = "b n p (three heads c) -> three (b n) heads p c"
        q, k, v = rearrange(self.qkv(apart), pattern, three=3, heads=self.heads)
        scores = rearrange(self.bias(cut), "heads n p q -> n heads p q")
        if len(scores) > 1:
            scores = scores.repeat(samples, 1, 1, 1)
        change = None
        if vectors is not None and self.vector_norm is not None and self.vector_kv is not None:
            vectors = self.vector_norm(vectors)
            kv = rearrange(self.vector_kv(vectors), "b g (two heads c) -> two b heads g c", two=2, heads=self.heads)
            if self.vector_q is not None and self.vector_project is not None:
                keys, values = (rearrange(y, "(b n) heads p c -> b heads (n p) c", b=samples) for y in (k, v))
                q_of_vectors = rearrange(self.vector_q(vectors), "b g (heads c) -> b heads g c", heads=self.heads)
                change = vectors_gather(q_of_vectors, kv[0], kv[1], keys, values, cut.real())
                change = self.vector_project(change)
            k, v = (
                torch.cat([own, repeat(of_vectors, "b heads g c -> (b n) heads g c", n=cuboids)], dim=2)
                for own, of_vectors in zip((k, v), kv, strict=True)
            )
            scores = F.pad(scores, (0, vectors.shape[1]))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=scores.to(q.dtype))
        return cut.together(self.project(rearrange(y, "(b n) heads p c -> b n p (heads c)", b=samples))), change


def vectors_gather(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pixel_k: torch.Tensor,
    pixel_v: torch.Tensor,
    real: torch.Tensor | None,
) -> torch.Tensor:
    """What global vectors gather from pixels (B, heads, N, C / heads) and one another: (B, G, C).

    Args:
        q: of the vectors, as k and v (B, heads, G, C / heads).
        k: of the vectors.
        v: of the vectors.
        pixel_k: of the pixels.
        pixel_v: of the pixels.
        real: which pixels are no padding (N,); None if none is.
    """
    count = q.shape[2]
    seen = None if real is None else F.pad(real, (0, count), value=True).expand(count, -1)
    k, v = torch.cat([pixel_k, k], dim=2), torch.cat([pixel_v, v], dim=2)
    return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=seen), "b heads g c -> b g (heads c)")


class RelativeBias(nn.Module):
    """Learned scores by head and by how far apart two pixels of a cuboid are in time and space.

    Args:
        heads: number of heads.
        cuboid: whose pixels.
        most: offsets in T, H and W that are told apart; larger ones count as the largest.
    """

    def __init__(self, heads: int, cuboid: Cuboid, most: Sizes) -> None:
        super().__init__()
        self.most = [min(size or far, far) for size, far in zip(cuboid.size, most, strict=True)]
        self.table = nn.Parameter(torch.zeros(heads, math.prod(2 * far - 1 for far in self.most)))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, cut: Cut) -> torch.Tensor:
        """(heads, 1, pixels, pixels), or (heads, cuboids, pixels, pixels) where some pixels may not see one another."""
        axes = [torch.arange(size, device=self.table.device) for size in cut.size]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # (3, pixels)
        index = torch.zeros((), dtype=torch.long, device=self.table.device)
        for place, far in zip(places, self.most, strict=True):
            offset = (place.unsqueeze(1) - place.unsqueeze(0)).clamp(1 - far, far - 1)
            index = index * (2 * far - 1) + offset + far - 1
        scores = self.table[:, index].unsqueeze(1)
        allowed = cut.allowed()
        return scores if allowed is None else torch.where(allowed, scores, HIDDEN)


class FramesAttention(nn.Module):
    """Each lead time attends to the past frames at the same place, then a perceptron.

    x (B, T_out, H, W, C), memory (B, T_in, H, W, C) → (B, T_out, H, W, C). Scores have a learned part by head, lead
    time and past frame.

    Args:
        channels: C.
        heads: number of heads; it divides C.
        past_frames: T_in.
        steps: T_out.
    """

    def __init__(self, channels: int, heads: int, past_frames: int, steps: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.table = nn.Parameter(0.02 * torch.randn(heads, steps, past_frames))
        self.perceptron = perceptron(channels)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        samples, _, height, width, _ = x.shape
        q = rearrange(self.query(self.norm(x)), "b t h w (heads c) -> (b h w) heads t c", heads=self.heads)
        pattern = "b t h w (two heads c) -> two (b h w) heads t c"
        k, v = rearrange(self.key_value(memory), pattern, two=2, heads=self.heads)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.table.unsqueeze(0).to(q.dtype))
        y = rearrange(y, "(b h w) heads t c -> b t h w (heads c)", b=samples, h=height, w=width)
        x = x + self.project(y)
        return x + self.perceptron(x)


def perceptron(channels: int) -> nn.Sequential:
    """Norm, four times as many hidden units, GELU: what a transformer layer adds behind attention."""
    return nn.Sequential(
        nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
    )
