"""Maps as rows of tokens, one a pixel, and softmax attention between tokens."""

import torch
import torch.nn.functional as F
from einops import rearrange


def tokens(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (B, N, C), each pixel's channels side by side in memory, as fused kernels need them."""
    return rearrange(x, "b c h w -> b (h w) c").contiguous()


def as_map(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B, N, C) → (B, C, H, W), H and W those of the map `like`."""
    return rearrange(rows, "b (h w) c -> b c h w", h=like.shape[2])


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    heads: int = 1,
    causal: bool = False,
) -> torch.Tensor:
    """softmax(scale · QKᵀ) V in each head: (B, N, D), (B, M, D) and (B, M, E) → (B, N, E).

    If causal, token n attends to the first n + 1 tokens alone.

    The narrower of D and E is padded with zeros, which alters no product: only with equal widths do fused
    kernels run, which never hold the N × M weights.
    """
    difference = (values.shape[2] - queries.shape[2]) // heads
    queries, keys, values = (
        _split(rows, heads, max(missing, 0))
        for rows, missing in ((queries, difference), (keys, difference), (values, -difference))
    )
    averages = F.scaled_dot_product_attention(queries, keys, values, is_causal=causal, scale=scale)
    if difference < 0:
        averages = averages[..., :difference]
    return rearrange(averages, "b heads n d -> b n (heads d)")


def _split(rows: torch.Tensor, heads: int, missing: int) -> torch.Tensor:
    """(B, N, D) → (B, heads, N, D / heads + missing), zeros in what is missing."""
    # Padded in three dimensions: in four, a single head of width 1 gets strides that kernels of GPUs do not take.
    split = F.pad(rearrange(rows, "b n (heads d) -> (b n) heads d", heads=heads), (0, missing))
    return rearrange(split, "(b n) heads d -> b heads n d", b=len(rows))


def waves(length: int, count: int, like: torch.Tensor) -> torch.Tensor:
    """Sine and cosine by turns of each of the numbers 0, 1, …, in `count` wavelengths: (length, 2 · count).

    They range from 2π up to 10000 · 2π (Vaswani et al. 2017).
    """
    frequencies = 10_000 ** -(torch.arange(count, device=like.device) / count)
    angles = torch.outer(torch.arange(length, device=like.device), frequencies)
    return rearrange(torch.stack([angles.sin(), angles.cos()]), "two n f -> n (f two)").to(like.dtype)


def sinusoids(like: torch.Tensor) -> torch.Tensor:
    """Codes of the pixels of a map, (N, C): waves of the row in one half, of the column in the other."""
    _, channels, height, width = like.shape
    quarter = -(-channels // 4)
    rows = rearrange(waves(height, quarter, like), "h c -> h 1 c").expand(-1, width, -1)
    columns = rearrange(waves(width, quarter, like), "w c -> 1 w c").expand(height, -1, -1)
    codes = torch.cat([rows, columns], dim=2)
    return rearrange(codes[..., :channels], "h w c -> (h w) c")
