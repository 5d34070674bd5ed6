"""Non-local block: every pixel is given a sum of all pixels, weighed by a function of each pair.

Wang, Girshick, Gupta and He 2018, arXiv 1711.07971.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._precision import at_least_single
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.contracts import InputError

__all__ = ["NonLocal"]

CARD = Card(
    family="self-attention",
    paper="Wang et al., Non-local Neural Networks",
    source="1711.07971",
    year=2017,
    equation="yᵢ = xᵢ + W_z (Σⱼ f(xᵢ, xⱼ) g(xⱼ) / 𝒞(x))",
    time="O(CN²), dot_product O(C²N), concatenation O(CN + N log N)",
    memory="O(CN)",
    note="Subsampling follows g and φ and keeps an odd last row or column; the authors' code pools x.",
)

Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocal(nn.Module):
    """Add to every pixel a sum over all pixels by a function f of the pair: y = x + W_z (Σⱼ fᵢⱼ gⱼ / 𝒞).

    (B, C, H, W) → (B, C, H, W). With θ, φ, g 1×1 convolutions to C/2, f is one of
    embedded_gaussian: e^(θᵢᵀφⱼ), 𝒞 = Σⱼ fᵢⱼ, a softmax over j; gaussian: the same of xᵢᵀxⱼ;
    dot_product: θᵢᵀφⱼ, 𝒞 = N; concatenation: ReLU(wᵀ[θᵢ; φⱼ]), 𝒞 = N. None ever holds N × N values. W_z
    starts at 0 (its norm, if any), so y = x at first.

    Args:
        channels: C.
        pairwise: f.
        width: of θ, φ and g; None takes the paper's C/2.
        subsample: whether φ and g are max-pooled by 2, which saves 3/4 of the products.
        scale: whether the products of both gaussians are divided by the root of their width, as in the
            authors' code; neither the paper nor most ports do it.
        norm: behind W_z, "batch" in the paper; None for none.
        key_bias: whether φ has a bias, as in the paper; no softmax can notice it, the other two can.

    Raises:
        InputError: for a width below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        width: int | None = None,
        subsample: bool = False,
        scale: bool = True,
        norm: Norm | None = "group",
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        width = max(channels // 2, 1) if width is None else width
        if width < 1:
            raise InputError(f"non_local of width {width} is empty; {max(channels // 2, 1)} is usual")
        self.pairwise = pairwise
        self.scale = (channels if pairwise == "gaussian" else width) ** -0.5 if scale else 1.0
        self.value = nn.Conv2d(channels, width, 1)
        self.project = nn.Sequential(nn.Conv2d(width, channels, 1))
        if norm is not None:
            self.project.append(norm_layer(norm, channels))
        for weight in self.project[-1].parameters():
            nn.init.zeros_(weight)
        self.query: nn.Module = nn.Identity()
        self.key: nn.Module = nn.Identity()
        if pairwise != "gaussian":
            self.query = nn.Conv2d(channels, width, 1)
            self.key = nn.Conv2d(channels, width, 1, bias=key_bias)
        if pairwise == "concatenation":
            self.join = nn.Linear(2 * width, 1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if subsample else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries = tokens(self.query(x))
        keys, values = (tokens(self.pool(layer(x))) for layer in (self.key, self.value))
        return x + self.project(as_map(self._sums(queries, keys, values), like=x))

    def _sums(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Σⱼ fᵢⱼ gⱼ / 𝒞: (B, N, D), (B, M, D) and (B, M, E) → (B, N, E)."""
        if self.pairwise in ("embedded_gaussian", "gaussian"):
            return attend(queries, keys, values, scale=self.scale)
        values = values / values.shape[1]
        if self.pairwise == "dot_product":
            return queries @ (keys.mT @ values)
        of_query, of_key = self.join.weight.chunk(2, dim=1)
        return rectified_sums(queries @ of_query.mT, keys @ of_key.mT, values)


def rectified_sums(left: torch.Tensor, right: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Σⱼ ReLU(leftᵢ + rightⱼ) valuesⱼ: (B, N, 1), (B, M, 1) and (B, M, E) → (B, N, E).

    With the right in falling order, those that count for i are the first few; sums of the values and of
    right · values up to each are made once, and i needs no more than its two.
    """
    kind = values.dtype
    left, right, values = map(at_least_single, (left, right, values))
    right, order = right.sort(dim=1, descending=True)
    values = values.gather(1, order.expand_as(values))
    sums = F.pad(torch.cat([values, right * values], dim=2).cumsum(dim=1), (0, 0, 1, 0))
    counts = torch.searchsorted(-rearrange(right.detach(), "b m 1 -> b m"), left.detach().squeeze(2))
    plain, weighted = sums.gather(1, repeat(counts, "b n -> b n e", e=sums.shape[2])).chunk(2, dim=2)
    return (left * plain + weighted).to(kind)
