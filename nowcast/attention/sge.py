"""Spatial group-wise enhance: in every group of channels, raise the places that resemble the group's mean.

Li, Hu and Yang 2019, arXiv 1905.09646.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into

__all__ = ["SpatialGroupEnhance"]

CARD = Card(
    family="spatial",
    paper="Li et al., Spatial Group-wise Enhance: Improving Semantic Feature Learning in CNNs",
    source="1905.09646",
    year=2019,
    equation="c_n = ⟨x_n, GAP(x)⟩ in each group; y = x ⊙ σ(γ (c_n − mean c)/(std c + ε) + β)",
    time="O(CN)",
    memory="O(GN)",
    note="On a flat group, as on a dry map, (c_n − mean c)/(std c + ε) is 0 and its gradient finite.",
)


class SpatialGroupEnhance(nn.Module):
    """Gate each position of a group of channels by how much it resembles the group's mean over the map.

    (B, C, H, W) → (B, C, H, W). Within one of G groups of C/G channels, the similarity of position n is the
    scalar product c_n = ⟨x_n, GAP(x)⟩; standardised over the N positions it becomes the gate
    σ(γ (c_n − mean c)/(std c + ε) + β). The standard deviation is the unbiased one (N − 1), as in the
    authors' code.

    Args:
        channels: C.
        groups: G, 64 in the paper; None takes the greatest common divisor of 64 and C.
        epsilon: ε, added to the standard deviation (not to the variance).

    Raises:
        InputError: when the groups do not divide C.
    """

    def __init__(self, channels: int, *, groups: int | None = None, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.groups = split_into("sge groups", groups, 64, channels)
        self.epsilon = epsilon
        # γ = 0 and β = 1 at first, as the authors start: one gate σ(1) everywhere.
        self.gamma = nn.Parameter(torch.zeros(self.groups))
        self.beta = nn.Parameter(torch.ones(self.groups))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grouped = rearrange(x, "b (g c) h w -> b g c h w", g=self.groups)
        similarity = torch.einsum("bgchw, bgc -> bghw", grouped, grouped.mean(dim=(3, 4)))
        centred = similarity - similarity.mean(dim=(2, 3), keepdim=True)
        pixels = max(x.shape[2] * x.shape[3] - 1, 1)
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / pixels
        # The slope of √ at 0 is infinite; below the least normal number none is needed.
        deviation = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
        standard = centred / (deviation + self.epsilon)
        gamma, beta = (rearrange(weight, "g -> g 1 1") for weight in (self.gamma, self.beta))
        gate = torch.sigmoid(gamma * standard + beta)
        return rearrange(grouped * rearrange(gate, "b g h w -> b g 1 h w"), "b g c h w -> b (g c) h w")
