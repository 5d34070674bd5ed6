"""Textbook forms of costly mechanisms: same weights, same output, with every large matrix written out.

They show what the library's modules save, and in the tests they are what these must equal.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import nn


def rows_of(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) → (B, N, C)."""
    return rearrange(x, "b c h w -> b (h w) c")


def map_of(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(B, N, C) → (B, C, H, W) of the size of x."""
    return rearrange(rows, "b (h w) c -> b c h w", h=x.shape[2])


def places(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The row and the column of each of the N pixels."""
    index = torch.arange(x.shape[2] * x.shape[3], device=x.device)
    return index // x.shape[3], index % x.shape[3]


def in_heads(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads · d) → (B, heads, N, d)."""
    return rearrange(rows, "b n (heads d) -> b heads n d", heads=heads)


def averages(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float = 1.0, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(scale · QKᵀ) V over the pairs that are allowed, through the whole matrix of pairs."""
    logits = scale * (q @ k.mT)
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    return logits.softmax(dim=-1) @ v


def self_attention(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An N × N matrix a head."""
    pixels = rows_of(x)
    q, k, v = (in_heads(layer(pixels), module.heads) for layer in (module.query, module.key, module.value))
    joined = rearrange(averages(q, k, v, q.shape[3] ** -0.5), "b heads n d -> b n (heads d)")
    return x + map_of(module.project(joined), x)


def simplified_self_attention(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An N × N matrix a head."""
    pixels = in_heads(rows_of(x), module.heads)
    joined = rearrange(averages(pixels, pixels, pixels, pixels.shape[3] ** -0.5), "b heads n d -> b n (heads d)")
    return x + map_of(module.project(joined), x)


def non_local(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """f of all N × N pairs; of concatenation through all pairs of θ and φ, N × N × 2 width."""
    q, k, v = (rows_of(layer(x)) for layer in (module.query, module.key, module.value))
    match module.pairwise:
        case "gaussian" | "embedded_gaussian":
            sums = averages(q, k, v, module.scale)
        case "dot_product":
            sums = q @ k.mT @ v / v.shape[1]
        case _:
            n = q.shape[1]
            pairs = torch.cat([q.unsqueeze(2).expand(-1, -1, n, -1), k.unsqueeze(1).expand(-1, n, -1, -1)], dim=3)
            sums = module.join(pairs).relu().squeeze(3) @ v / n
    return x + module.project(map_of(sums, x))


def pam(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An N × N matrix."""
    pixels = rows_of(x)
    sums = averages(module.query(pixels), module.key(pixels), module.value(pixels))
    return x + module.gamma * map_of(sums, x)


def criss_cross(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An N × N matrix in which only pixels of one row or one column meet."""
    row, column = places(x)
    allowed = (row[:, None] == row) | (column[:, None] == column)
    for _ in range(module.recurrence):
        q, k, v = (rows_of(layer(x)) for layer in (module.query, module.key, module.value))
        x = x + module.gamma * map_of(averages(q, k, v, allowed=allowed), x)
    return x


def axial_line(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An N × N matrix in which only pixels of one line meet."""
    line = places(x)[0 if module.line == "row" else 1]
    pixels = rows_of(x)
    sums = averages(module.query(pixels), module.key(pixels), module.value(pixels), allowed=line[:, None] == line)
    return x + module.gamma * map_of(sums, x)


def aft(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The N × N biases of the full form, and e^(k + w) of all pairs."""
    left, right = module.bias(*x.shape[2:])
    bias = left @ right.mT
    keys, values = rows_of(module.key(x)), rows_of(module.value(x))
    keys, bias = keys - keys.amax(dim=1, keepdim=True), bias - bias.amax(dim=1, keepdim=True)
    weights = bias.exp()
    context = (weights @ (keys.exp() * values)) / (weights @ keys.exp())
    return module.project(torch.sigmoid(module.query(x)) * map_of(context, x))


def rga_s(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The affinities of all pixels to all cells and back, N × 2n, embedded as a map of 2n channels."""
    pool = nn.AdaptiveAvgPool2d(module.grid)
    theta, phi = module.pair["theta_positions"](x), module.pair["phi_positions"](x)
    to_cells = torch.einsum("bdhw, bdn -> bnhw", theta, pool(phi).flatten(2))
    from_cells = torch.einsum("bdhw, bdn -> bnhw", phi, pool(theta).flatten(2))
    related = module.related["positions"]
    embedded = related.norm(related.project(torch.cat([to_cells, from_cells], dim=1))).relu()
    own = module.own["positions"](x).mean(dim=1, keepdim=True)
    return x * module.weigh["positions"](torch.cat([own, embedded], dim=1))


# By the mechanism's name: (module that holds the weights, input) → output.
TWINS: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "aft": aft,
    "axial_col": axial_line,
    "axial_row": axial_line,
    "criss_cross": criss_cross,
    "non_local": non_local,
    "pam": pam,
    "rga_s": rga_s,
    "self_attention": self_attention,
    "simplified_self_attention": simplified_self_attention,
}
