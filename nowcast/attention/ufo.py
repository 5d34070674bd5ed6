"""Unit force operated attention: a softmax-free product of normalised queries and key-value sums.

Song 2021, UFO-ViT, arXiv 2109.14382.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._split import split_into
from nowcast.attention._tokens import as_map, tokens

__all__ = ["UnitForceAttention"]

CARD = Card(
    family="self-attention",
    paper="Song, UFO-ViT: High Performance Linear Vision Transformer without Softmax",
    source="2109.14382",
    year=2021,
    equation="y = W_o (XN(Q) · XN(KᵀV)), XN(a) = γ a/‖a‖₂",
    time="O(C²N)",
    memory="O(CN + C²/h)",
)


class UnitForceAttention(nn.Module):
    """Read sums of keys times values by queries, both brought to length γ: y = W_o (XN(Q) · XN(KᵀV)).

    (B, C, H, W) → (B, C, H, W). KᵀV is d × d in each head whatever the size of the map, and the length of
    its rows does not grow with it. Vectors shorter than 10⁻⁶ are not lengthened, so that nothing divides by 0.

    Args:
        channels: C.
        heads: number of heads, each with its own γ; None takes what of 8 divides C.
        bias: whether the four projections have biases.

    Raises:
        InputError: for heads that do not divide C.
    """

    def __init__(self, channels: int, *, heads: int | None = None, bias: bool = True) -> None:
        super().__init__()
        heads = split_into("ufo heads", heads, 8, channels)
        self.gamma = nn.Parameter(torch.ones(heads, 1, 1))
        self.query, self.key, self.value, self.project = (nn.Conv2d(channels, channels, 1, bias=bias) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries, keys, values = (
            rearrange(at_least_single(tokens(layer(x))), "b n (heads d) -> b heads n d", heads=len(self.gamma))
            for layer in (self.query, self.key, self.value)
        )
        # Means in place of sums, which normalising cannot tell apart, fit any float type.
        sums = (keys / keys.shape[2]).mT @ values
        rows = rearrange(self._normed(queries) @ self._normed(sums), "b heads n d -> b n (heads d)")
        return self.project(as_map(rows, x).to(x.dtype))

    def _normed(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.gamma * F.normalize(at_least_single(vectors), dim=-1, eps=1e-6)
