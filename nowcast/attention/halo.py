"""Halo attention: blocks of pixels attend to themselves and to a margin around them.

Vaswani, Ramachandran, Srinivas, Parmar, Hechtman and Shlens 2021, arXiv 2103.12731.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._patches import cut, joined
from nowcast.attention._split import split_into
from nowcast.contracts import InputError

__all__ = ["HaloAttention"]

CARD = Card(
    family="self-attention",
    paper="Vaswani et al., Scaling Local Self-Attention for Parameter Efficient Visual Backbones",
    source="2103.12731",
    year=2021,
    equation="yₜ = Σₛ softmaxₛ((qₜᵀkₛ + qₜᵀ(r_Δrow + r_Δcol)) / √d) vₛ, s in t's block and h pixels around it",
    time="O(CN(b + 2h)² + C²N)",
    memory="O(CN(1 + 2h/b)²)",
    note="Displacements that no pair of a block and its window has keep an unused vector, as in both ports.",
)

Padding = Literal["masked", "zeros", "inverted"]


class HaloAttention(nn.Module):
    """Let each pixel attend to its block of b × b pixels and the h pixels around, by content and displacement.

    (B, C, H, W) → (B, C, H, W). Windows of (b + 2h)² pixels. What a map lacks of whole blocks is filled up.
    Displacements enter as more features of queries and keys, so that no weights are ever held as a whole.

    Args:
        channels: C.
        block: side b of a block, 8 in the paper.
        halo: margin h of a block's window, 3 in the paper.
        heads: number of heads; None takes what of 8 divides C.
        head_width: d of queries, keys and values; None is C / heads.
        scaled_positions: whether products with displacements are divided by √d like those with keys.
        padding: "masked": what lies off the map gets no weight; "zeros": it takes part as zeros; "inverted":
            only it gets weight (where there is none, all get the same), for checkpoints of the port that did.
        project: whether an output projection follows; it must when heads · head_width is not C.

    Raises:
        InputError: for heads that do not divide C, a block below 1, a negative halo, a width without projection.
    """

    def __init__(
        self,
        channels: int,
        *,
        block: int = 8,
        halo: int = 3,
        heads: int | None = None,
        head_width: int | None = None,
        scaled_positions: bool = True,
        padding: Padding = "masked",
        project: bool = False,
    ) -> None:
        super().__init__()
        if block < 1 or halo < 0:
            raise InputError(f"halo needs a block of 1 or more and a halo of 0 or more, not {block} and {halo}")
        self.heads = split_into("halo heads", heads, 8, channels)
        self.head_width = channels // self.heads if head_width is None else head_width
        inner = self.heads * self.head_width
        if inner < 1 or (inner != channels and not project):
            raise InputError(
                f"halo with {self.heads} heads of {head_width} makes {inner} channels of {channels}; "
                f"{channels // self.heads} would do, or project=True"
            )
        self.block, self.halo, self.window = block, halo, block + 2 * halo
        self.scaled_positions, self.padding = scaled_positions, padding
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key_value = nn.Conv2d(channels, 2 * inner, 1, bias=False)
        # Of rows, then of columns: one vector for each displacement from 1 − window to window − 1.
        shape = (2 * self.window - 1, self.head_width)
        self.relative = nn.ParameterList(self.head_width**-0.5 * torch.randn(shape) for _ in range(2))
        self.project = nn.Conv2d(inner, channels, 1) if project else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patch = (self.block, self.block)
        queries = rearrange(cut(self.query(x), patch), "b (heads d) p m -> (b m) heads p d", heads=self.heads)
        windows = rearrange(
            self._windows(self.key_value(x)), "b (heads two d) w m -> two (b m) heads w d", heads=self.heads, two=2
        )
        keys, values = windows.unbind(0)
        # One product of longer features is that of contents, of displacements and of what masks the padding.
        places = repeat(self._places(keys, x), "m w f -> (b m) heads w f", b=x.shape[0], heads=self.heads)
        queries = torch.cat([queries * self.head_width**-0.5, self._relative(queries)], dim=3)
        keys = torch.cat([keys, places], dim=3)
        values = F.pad(values, (0, places.shape[3]))
        averages = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., : self.head_width]
        averages = rearrange(averages, "(b m) heads p d -> b (heads d) p m", b=x.shape[0])
        return self.project(joined(averages, patch, like=x))

    def _windows(self, maps: torch.Tensor) -> torch.Tensor:
        """The window of each block, filled up with zeros: (B, C, H, W) → (B, C, window², M), M blocks."""
        height, width = maps.shape[2:]
        below, right = (self.halo + -length % self.block for length in (height, width))
        whole = F.pad(maps, (self.halo, right, self.halo, below))
        windows = whole.unfold(2, self.window, self.block).unfold(3, self.window, self.block)
        return rearrange(windows, "b c i j u v -> b c (u v) (i j)")

    def _relative(self, queries: torch.Tensor) -> torch.Tensor:
        """Products of queries with the vectors of all rows, then all columns of the window, and a 1 for the mask.

        (M, heads, block², d) → (M, heads, block², 2 window + 1).
        """
        scale = self.head_width**-0.5 if self.scaled_positions else 1.0
        grid = rearrange(scale * queries, "m heads (i j) d -> m heads i j d", i=self.block)
        ahead = torch.arange(self.window, device=queries.device)
        ahead = ahead + self.window - 1 - ahead[: self.block, None]
        rows, columns = (vectors[ahead] for vectors in self.relative)
        rows = torch.einsum("mhijd, iud -> mhiju", grid, rows)
        columns = torch.einsum("mhijd, jvd -> mhijv", grid, columns)
        products = torch.cat([rows, columns, torch.ones_like(rows[..., :1])], dim=4)
        return rearrange(products, "m heads i j f -> m heads (i j) f")

    def _places(self, keys: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """In which row and which column of the window each key is, as 0s and 1s, and its mask.

        (M, window², 2 window + 1), the mask added to logits 0 or too low for any weight.
        """
        side = torch.eye(self.window, dtype=keys.dtype, device=keys.device)
        rows, columns = repeat(side, "u f -> (u v) f", v=self.window), repeat(side, "v f -> (u v) f", u=self.window)
        inside = rearrange(self._windows(keys.new_ones(1, 1, *x.shape[2:])), "1 1 w m -> m w 1")
        hidden = {"masked": 1 - inside, "zeros": torch.zeros_like(inside), "inverted": inside}[self.padding]
        mask = hidden * (torch.finfo(keys.dtype).min / 4)
        return torch.cat([*(place.expand(len(mask), -1, -1) for place in (rows, columns)), mask], dim=2)
