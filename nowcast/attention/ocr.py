"""Object-contextual representations: pixels described by the soft regions that they belong to.

Yuan, Chen and Wang 2020, arXiv 1909.11065.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm
from nowcast.attention._precision import at_least_single
from nowcast.attention._tokens import as_map, attend, tokens
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["ObjectContext"]

CARD = Card(
    family="self-attention",
    paper="Yuan et al., Object-Contextual Representations for Semantic Segmentation",
    source="1909.11065",
    year=2019,
    equation="r_k = Σ softmax_N(l_k) x; y = ρ([δ(softmax_K(φ(x)ᵀψ(r)/√d) δ(r)); x])",
    time="O(KCN + C²N)",
    memory="O((C + K)N)",
    note="Regions mean something only under a loss on `regions(x)`, such as on classes of rain intensity.",
)


class ObjectContext(nn.Module):
    """Gather K soft regions of the map, and fuse with each pixel the regions that it is akin to.

    (B, C, H, W) → (B, C, H, W). Coarse logits, softmaxed over pixels, weigh a mean pixel of each region;
    pixels attend to these means, and y = ρ([context; x]). All transforms are 1×1 convolution, norm and ReLU.

    Args:
        channels: C.
        regions: K.
        reduction: C over the width d of queries, keys and values, 2 in the paper.
        norm: "batch" in the paper.
        own_logits: whether there is a head for the logits, which `regions` returns for a loss on them;
            without it `forward` takes logits.
        minimum: least width.

    Raises:
        InputError: for less than two regions, between which there would be nothing to choose.
    """

    def __init__(
        self,
        channels: int,
        *,
        regions: int = 16,
        reduction: int = 2,
        norm: Norm = "group",
        own_logits: bool = True,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if regions < 2:
            raise InputError(f"ocr needs 2 regions or more, not {regions}; 16 is usual")
        width = reduced(channels, reduction, minimum)
        self.query = nn.Sequential(conv_norm_relu(channels, width, 1, norm), conv_norm_relu(width, width, 1, norm))
        self.key = nn.Sequential(conv_norm_relu(channels, width, 1, norm), conv_norm_relu(width, width, 1, norm))
        self.value = conv_norm_relu(channels, width, 1, norm)
        self.widen = conv_norm_relu(width, channels, 1, norm)
        self.fuse = conv_norm_relu(2 * channels, channels, 1, norm)
        self.head = None
        if own_logits:
            # A bias would shift all logits of a region alike, which a softmax over pixels cannot notice.
            self.head = nn.Sequential(
                conv_norm_relu(channels, channels, 1, norm), nn.Conv2d(channels, regions, 1, bias=False)
            )

    def regions(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of each pixel for each region: (B, C, H, W) → (B, K, H, W).

        Raises:
            InputError: when it was built without logits of its own.
        """
        if self.head is None:
            raise InputError("ocr was built without logits of its own; give them with the map")
        return self.head(x)

    def gather(self, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The mean pixel of each region: (B, C, H, W), (B, K, H, W) → (B, K, C)."""
        weights = at_least_single(rearrange(logits, "b k h w -> b k (h w)")).softmax(dim=2)
        return weights.to(x.dtype) @ tokens(x)

    def forward(self, x: torch.Tensor, logits: torch.Tensor | None = None) -> torch.Tensor:
        """Describe x by regions of given logits, (B, K, H, W) of any K, or of its own."""
        logits = self.regions(x) if logits is None else logits
        regions = rearrange(self.gather(x, logits), "b k c -> b c k 1")
        queries, keys, values = map(tokens, (self.query(x), self.key(regions), self.value(regions)))
        context = as_map(attend(queries, keys, values, scale=queries.shape[2] ** -0.5), like=x)
        return self.fuse(torch.cat([self.widen(context), x], dim=1))
