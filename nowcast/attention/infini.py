"""Infini-attention: softmax attention inside segments, and a memory of all segments before.

Munkhdalai, Faruqui and Gopal 2024, arXiv 2404.07143.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import pack, rearrange, repeat, unpack
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, tokens
from nowcast.contracts import InputError

__all__ = ["InfiniAttention"]

CARD = Card(
    family="temporal",
    paper="Munkhdalai et al., Leave No Context Behind: Efficient Infinite Context Transformers with Infini-attention",
    source="2404.07143",
    year=2024,
    equation="y = W_o[σ(β) φ(Q)M/φ(Q)z + (1 − σ(β)) softmax(QKᵀ/√d)V]; M += φ(K)ᵀV, z += Σφ(K), φ = elu + 1",
    time="O(C²N + sCN), s pixels a segment",
    memory="O(CN + C²N/hs)",
    note="Takes (B, T, C, H, W) too: frames are segments, which remember those before and know nothing of "
    "those after. Of a single map, segments are stretches of the raster. Memory starts empty in each call; "
    "attention inside a segment is not causal by default, as a frame is seen at once.",
)

Update = Literal["linear", "delta"]
Gate = Literal["memory", "local"]


class InfiniAttention(nn.Module):
    """Attend inside a segment, and read what earlier segments left in a matrix per head.

    (B, C, H, W) → (B, C, H, W), or (B, T, C, H, W) → (B, T, C, H, W). The memory has d² + d numbers a head,
    however many segments it holds. The first segment, which has nothing to remember, has local attention
    alone.

    Args:
        channels: C.
        heads: number of heads, each with its gate β; None takes what of 8 divides C.
        segment: pixels of a segment on a single map; frames of a sequence are segments whatever their size.
        update: "linear" adds φ(K)ᵀV to the memory; "delta" adds of V only what the memory does not yet give
            for the keys.
        gate: what σ(β) weighs: the "memory", as in the paper, or the "local" attention, as in a popular port.
        causal: whether pixels of a segment attend to those before them alone, as words in the paper.
        project: whether there are matrices W_q, W_k, W_v and W_o.

    Raises:
        InputError: for heads that do not divide C, or a segment below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int | None = None,
        segment: int = 64,
        update: Update = "linear",
        gate: Gate = "memory",
        causal: bool = False,
        project: bool = True,
    ) -> None:
        super().__init__()
        if segment < 1:
            raise InputError(f"infini needs a segment of 1 pixel or more, not {segment}")
        self.heads = split_into("infini heads", heads, 8, channels)
        self.segment, self.update, self.weighed, self.causal = segment, update, gate, causal
        self.gate = nn.Parameter(torch.zeros(self.heads))
        self.query, self.key, self.value, self.project = (
            nn.Linear(channels, channels, bias=False) if project else nn.Identity() for _ in range(4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 5:
            maps, frames = pack([x], "* c h w")
            (rows,) = unpack(tokens(maps), frames, "* n c")
            (y,) = unpack(as_map(rearrange(self._attended(rows), "b t n c -> (b t) n c"), maps), frames, "* c h w")
            return y
        rows = tokens(x)
        count = rows.shape[1]
        length = min(self.segment, count)
        missing = -count % length
        segments = rearrange(F.pad(rows, (0, 0, 0, missing)), "b (s n) c -> b s n c", n=length)
        y = rearrange(self._attended(segments, missing), "b s n c -> b (s n) c")
        return as_map(y[:, :count], x)

    def _attended(self, segments: torch.Tensor, missing: int = 0) -> torch.Tensor:
        """(B, segments, N, C) → (B, segments, N, C), where the last so many pixels are none."""
        queries, keys, values = (
            rearrange(layer(segments), "b s n (heads d) -> b s heads n d", heads=self.heads)
            for layer in (self.query, self.key, self.value)
        )
        y = self.attend(queries, keys, values, missing)
        return self.project(rearrange(y, "b s heads n d -> b s n (heads d)"))

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, missing: int = 0) -> torch.Tensor:
        """What each query gets from its segment and from the memory, (B, segments, heads, N, d) as all inputs.

        Args:
            queries: Q.
            keys: K.
            values: V.
            missing: how many tokens at the end of the last segment are none.
        """
        local = self._local(queries, keys, values, missing)
        recalled = self._recalled(queries, keys, values).to(local.dtype)
        share = torch.sigmoid(self.gate if self.weighed == "memory" else -self.gate)
        segments = queries.shape[1]
        remembers = torch.arange(segments, device=share.device) > 0
        share = torch.where(rearrange(remembers, "s -> s 1 1 1"), rearrange(share, "heads -> heads 1 1"), 0)
        return local + share * (recalled - local)

    def _local(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, missing: int) -> torch.Tensor:
        batch, segments, _, length, width = queries.shape
        outside = None
        if missing and not self.causal:
            real = torch.arange(segments * length, device=queries.device) < segments * length - missing
            zero = queries.new_zeros(())
            outside = torch.where(real, zero, torch.finfo(queries.dtype).min / 2)
            outside = repeat(outside, "(s n) -> (b s) 1 1 n", b=batch, s=segments)
        queries, keys, values = (
            rearrange(each, "b s heads n d -> (b s) heads n d") for each in (queries, keys, values)
        )
        averages = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=outside, is_causal=self.causal, scale=width**-0.5
        )
        return rearrange(averages, "(b s) heads n d -> b s heads n d", b=batch)

    def _recalled(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        queries, keys, values = (at_least_single(each) for each in (queries, keys, values))
        queries, keys = F.elu(queries) + 1, F.elu(keys) + 1
        if self.update == "linear":
            written = keys.mT @ with_ones(values)
            # Each segment reads what those before it wrote.
            memory = F.pad(written[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)).cumsum(dim=1)
            return read(memory, queries)
        memory = torch.zeros_like(keys[:, 0].mT @ with_ones(values[:, 0]))
        recalled = []
        for query, key, value in zip(queries.unbind(1), keys.unbind(1), values.unbind(1), strict=True):
            recalled.append(read(memory, query))
            memory = memory + key.mT @ with_ones(value - read(memory, key))
        return torch.stack(recalled, dim=1)


def with_ones(values: torch.Tensor) -> torch.Tensor:
    """Values and a 1 each, whose sums under the same weights normalise theirs: (…, N, d) → (…, N, d + 1)."""
    return F.pad(values, (0, 1), value=1.0)


def read(memory: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """φM/φz of a memory [M, z]: (…, d, d + 1) and (…, N, d) → (…, N, d)."""
    sums = features @ memory
    return sums[..., :-1] / sums[..., -1:].clamp_min(1e-10)
