"""Attention-free transformer: values averaged under weights of their keys and of where they are.

Zhai, Talbott, Srivastava, Huang, Goh, Zhang and Susskind 2021, arXiv 2105.14103.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._size import rows_and_columns
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["AttentionFree"]

CARD = Card(
    family="self-attention",
    paper="Zhai et al., An Attention Free Transformer",
    source="2105.14103",
    year=2021,
    equation="yₜ = W_o(σ(qₜ) ⊙ Σₛ e^(kₛ + wₜₛ) ⊙ vₛ / Σₛ e^(kₛ + wₜₛ))",
    time="O(CN²) full, O(CN) simple, O(k²CN) local and conv",
    memory="O(CN) full, simple and conv, O(k²CN) local",
    note="Variants full, simple (w = 0), local (w = 0 outside a window), conv (w by displacement and head). "
    "Position biases belong to one map size and are interpolated to others; windows are squares of the map, "
    "not stretches of the raster as in the paper.",
)

Variant = Literal["full", "simple", "local", "conv"]


class PositionBias(nn.Module):
    """Biases w between all pairs of positions, as factors with w = left · rightᵀ.

    They are learnt on a grid, as left and right of some rank or (rank None) as the whole table, and
    interpolated bilinearly in both positions to a map of any size.
    """

    def __init__(self, size: tuple[int, int], rank: int | None) -> None:
        super().__init__()
        self.size = size
        positions = size[0] * size[1]
        if rank is None:
            factors = [torch.empty(positions, positions).normal_(std=0.1)]
        else:
            factors = [torch.empty(positions, rank).normal_(std=0.1) for _ in range(2)]
        self.factors = nn.ParameterList(factors)

    def forward(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Both factors for a map of this size, (N, rank) each."""
        left, *right = (at_least_single(factor) for factor in self.factors.parameters())
        # The whole table is its own left factor, and which positions a pixel lies between the right one.
        other = right[0] if right else torch.eye(len(left), dtype=left.dtype, device=left.device)
        return self._resized(left, height, width), self._resized(other, height, width)

    def _resized(self, factor: torch.Tensor, height: int, width: int) -> torch.Tensor:
        grid = rearrange(factor, "(h w) rank -> 1 rank h w", h=self.size[0])
        return rearrange(F.interpolate(grid, (height, width), mode="bilinear"), "1 rank h w -> (h w) rank")


class DisplacementBias(nn.Module):
    """Biases w of each head by displacement, γ (w − mean) / deviation + β, (heads, kernel, kernel)."""

    def __init__(self, heads: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(heads, kernel, kernel))
        self.gamma = nn.Parameter(torch.zeros(heads, 1, 1))
        self.beta = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self) -> torch.Tensor:
        weight = at_least_single(self.weight)
        variance, mean = torch.var_mean(weight, dim=(1, 2), correction=0, keepdim=True)
        return self.gamma * (weight - mean) * (variance + 1e-6).rsqrt() + self.beta


def weighed_everywhere(maps: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Σₛ e^(wₜₛ) mapsₛ up to a factor of t, (B, C, H, W).

    This is softmax attention of `left` to `right`, so that w is never held as a whole; channels of all
    samples are values side by side, in heads as wide as the factors.
    """
    batch, _, height, _ = maps.shape
    values = rearrange(maps, "b c h w -> (h w) (b c)")
    columns, rank = values.shape[1], left.shape[1]
    values = F.pad(values, (0, -columns % rank))
    # Fused kernels, which never hold w, want the numbers of a token side by side.
    values = rearrange(values, "n (heads rank) -> 1 heads n rank", rank=rank).contiguous()
    queries, keys = (factor.to(values.dtype).contiguous().expand_as(values) for factor in (left, right))
    sums = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    sums = rearrange(sums, "1 heads n rank -> n (heads rank)")[:, :columns]
    return rearrange(sums, "(h w) (b c) -> b c h w", b=batch, h=height)


def weighed_nearby(maps: torch.Tensor, bias: torch.Tensor, kernel: int) -> torch.Tensor:
    """Σₛ e^(wₜₛ) mapsₛ up to a factor of t, with w = 0 beyond a window, (B, C, H, W).

    It is the sum over all s and, in the window, Σₛ (e^(wₜₛ) − 1) mapsₛ.

    Args:
        maps: (B, C, H, W), not negative in the second half of the channels, which normalise the first half.
        bias: w by displacement in a square, (C, k², 1) alike at all positions or (1, k², N) for all channels.
        kernel: side k of the square, odd.
    """
    top = bias.detach().amax(dim=1, keepdim=True).clamp_min(0)
    gain = ((bias - top).exp() - (-top).exp()).to(maps.dtype)
    if len(gain) == 1:
        windows = F.unfold(maps, kernel, padding=kernel // 2)
        windows = rearrange(windows, "b (c offset) n -> b c offset n", offset=kernel**2)
        nearby = (windows * gain).sum(dim=2)
    else:
        weight = rearrange(gain, "c (i j) 1 -> c 1 i j", i=kernel)
        nearby = F.conv2d(maps, weight, padding=kernel // 2, groups=len(weight)).flatten(2)
    rest = (-top).exp().squeeze(1) * maps.sum(dim=(2, 3)).unsqueeze(2)
    numerator, denominator = (rest + nearby).chunk(2, dim=1)
    # Where the window held nearly all weight and w removes it, what is left is less than rounding errors.
    denominator = torch.maximum(denominator, 1e-6 * rest.chunk(2, dim=1)[1])
    return torch.cat([numerator, denominator], dim=1).unflatten(2, maps.shape[2:])


class AttentionFree(nn.Module):
    """Average values under weights e^(kₛ + wₜₛ) of key and place, each channel by itself, and gate by σ(q).

    (B, C, H, W) → (B, C, H, W), yₜ = W_o(σ(qₜ) ⊙ Σₛ e^(kₛ + wₜₛ) ⊙ vₛ / Σₛ e^(kₛ + wₜₛ)). The largest key
    is taken off all keys first, which changes nothing but keeps the exponentials finite.

    Args:
        channels: C.
        variant: "full" has w of all pairs of positions; "simple" has w = 0; "local" has w of pairs less than
            `window` apart in rows and in columns, and 0 beyond (which is not left out); "conv" has one key a
            head and w by head and displacement, which makes it blind to where it is.
        rank: of w as a product of two tables (full and local), 128 in the paper; None learns w as one table,
            the square of the size's number of pixels.
        size: rows and columns of the map that w is learnt for (full and local).
        window: s of "local".
        heads: of "conv"; None takes what of 32 divides C.
        kernel: odd size of the square of displacements of "conv", 11 in the paper.
        project: whether there is an output projection W_o, as in the paper; some ports have none.

    Raises:
        InputError: for heads that do not divide C, an even kernel, a rank or a window below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        variant: Variant = "full",
        rank: int | None = 128,
        size: Sequence[int] = (14, 14),
        window: int = 3,
        heads: int | None = None,
        kernel: int = 11,
        project: bool = True,
    ) -> None:
        super().__init__()
        heads = split_into("aft heads", heads, 32, channels)
        if kernel % 2 == 0:
            raise InputError(f"aft needs an odd kernel, not {kernel}; {kernel - 1} or {kernel + 1} would do")
        if window < 1 or (rank is not None and rank < 1):
            raise InputError(f"aft needs a window and a rank of 1 or more, not {window} and {rank}")
        self.variant = variant
        self.kernel = kernel if variant == "conv" else 2 * window - 1
        self.bias: PositionBias | DisplacementBias
        if variant in ("full", "local"):
            self.bias = PositionBias(rows_and_columns("aft", size), rank)
        elif variant == "conv":
            self.bias = DisplacementBias(heads, kernel)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, heads if variant == "conv" else channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1) if project else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys, values = at_least_single(self.key(x)), at_least_single(self.value(x))
        weights = (keys - keys.detach().amax(dim=(2, 3), keepdim=True)).exp()
        weights = repeat(weights, "b heads h w -> b (heads d) h w", d=x.shape[1] // keys.shape[1])
        sums = self._weighed(torch.cat([weights * values, weights], dim=1))
        numerator, denominator = sums.chunk(2, dim=1)
        context = numerator / denominator.clamp_min(torch.finfo(denominator.dtype).tiny)
        return self.project((torch.sigmoid(self.query(x)) * context).to(x.dtype))

    def _weighed(self, maps: torch.Tensor) -> torch.Tensor:
        """Σₛ e^(wₜₛ) mapsₛ up to a factor of t."""
        height, width = maps.shape[2:]
        match self.variant:
            case "simple":
                return maps.sum(dim=(2, 3), keepdim=True)
            case "full":
                return weighed_everywhere(maps, *self.bias(height, width))
            case "local":
                return weighed_nearby(maps, self._window_bias(height, width), self.kernel)
            case _:
                bias = self.bias()
                copies = maps.shape[1] // (2 * len(bias))
                bias = repeat(bias, "heads i j -> (two heads d) (i j) 1", two=2, d=copies)
                return weighed_nearby(maps, bias, self.kernel)

    def _window_bias(self, height: int, width: int) -> torch.Tensor:
        """w of each displacement in the window of each position, (1, k², N)."""
        left, right = self.bias(height, width)
        # The rank stands where unfold expects samples, so that its rows are displacements.
        grid = rearrange(right, "(h w) rank -> rank 1 h w", h=height)
        neighbours = F.unfold(grid, self.kernel, padding=self.kernel // 2)
        return (neighbours * rearrange(left, "n rank -> rank 1 n")).sum(dim=0, keepdim=True)
