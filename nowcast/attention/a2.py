"""Double attention: gather a few descriptors of the whole map, then hand each pixel the mix it asks for.

Chen, Kalantidis, Li, Yan and Feng 2018, arXiv 1810.11579.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._tokens import as_map
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["DoubleAttention"]

CARD = Card(
    family="self-attention",
    paper="Chen et al., A²-Nets: Double Attention Networks",
    source="1810.11579",
    year=2018,
    equation="y = x + W (A softmax_N(B)ᵀ) softmax_n(V)",
    time="O(C²N)",
    memory="O(CN)",
)


class DoubleAttention(nn.Module):
    """Gather n descriptors by attention over pixels, distribute them by attention over descriptors.

    (B, C, H, W) → (B, C, H, W), y = x + W G softmax(V) with G = A softmax(B)ᵀ; A (m, N), B and V (n, N) are
    1×1 convolutions of x. The first softmax is over the N pixels, the second over the n descriptors.

    Args:
        channels: C.
        features: m, the length of a descriptor; None takes the paper's C/4, at least 8.
        descriptors: n; None takes the paper's C/4, at least 8.
        residual: whether x is added, as the paper does.
        key_bias: whether B has a bias, as in ports; no softmax over pixels can notice it.

    Raises:
        InputError: for less than one feature or two descriptors, of which V could choose none.
    """

    def __init__(
        self,
        channels: int,
        *,
        features: int | None = None,
        descriptors: int | None = None,
        residual: bool = True,
        key_bias: bool = False,
    ) -> None:
        super().__init__()
        usual = reduced(channels, 4)
        features = usual if features is None else features
        descriptors = max(usual, 2) if descriptors is None else descriptors
        if features < 1 or descriptors < 2:
            raise InputError(f"a2 needs 1 feature or more and 2 descriptors or more, not {features} and {descriptors}")
        self.residual = residual
        self.feature = nn.Conv2d(channels, features, 1)
        self.gather = nn.Conv2d(channels, descriptors, 1, bias=key_bias)
        self.distribute = nn.Conv2d(channels, descriptors, 1)
        self.project = nn.Conv2d(features, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = rearrange(self.feature(x), "b m h w -> b m (h w)")
        over_pixels = rearrange(self.gather(x), "b n h w -> b (h w) n").softmax(dim=1)
        over_descriptors = rearrange(self.distribute(x), "b n h w -> b (h w) n").softmax(dim=2)
        descriptors = features @ over_pixels.to(x.dtype)
        y = self.project(as_map(over_descriptors.to(x.dtype) @ descriptors.mT, like=x))
        return x + y if self.residual else y
