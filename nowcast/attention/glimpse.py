"""Glimpse: a fovea moved to one place of the map, sharp there and coarse around, and what it sees told to all.

Mnih, Heess, Graves and Kavukcuoglu 2014, arXiv 1406.6247.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._sample import pixel_centres, read
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["Glimpse"]

CARD = Card(
    family="origin",
    paper="Mnih et al., Recurrent Models of Visual Attention",
    source="1406.6247",
    year=2014,
    equation="y = x + W_o δ(W [patches of V x at l] + W_l l), l = Σₙ softmax_N(w x)ₙ placeₙ",
    time="O(C²N/r + 4ˢg²C/r + sg²C²/r), s scales of g × g",
    memory="O(CN/r + 4ˢg²C/r)",
    note="One glimpse, placed by a soft argmax. The paper's sequence of drawn places, taught by REINFORCE, needs a "
    "reward and is not here.",
)


class Glimpse(nn.Module):
    """Look at one place of the map in several scales and add what is seen there to every pixel.

    (B, C, H, W) → (B, C, H, W). The place l is the mean of all places under softmax_N(w x). Around it, patches of
    sides g, 2g, 4g, … pixels are cut from V x, V to C/r channels, with zeros beyond the map, and averaged to g × g.
    What they hold and where they are make a vector δ(W patches + W_l l), of which W_o is added everywhere.

    Args:
        channels: C.
        size: g, side of a patch, 8 in the paper.
        scales: how many patches, up to 3 in the paper, each twice as wide as the one before.
        reduction: r, ratio of channels that patches are cut from.
        minimum: least number of these.

    Raises:
        InputError: for a size or a number of scales below 1.
    """

    def __init__(self, channels: int, *, size: int = 8, scales: int = 3, reduction: int = 16, minimum: int = 8) -> None:
        super().__init__()
        if size < 1 or scales < 1:
            raise InputError(f"glimpse needs a size and scales of 1 or more, such as 8 and 3, not {size} and {scales}")
        self.size, self.scales = size, scales
        width = reduced(channels, reduction, minimum)
        self.place = nn.Conv2d(channels, 1, 1, bias=False)
        self.narrow = nn.Conv2d(channels, width, 1)
        self.what = nn.Linear(scales * width * size**2, channels)
        self.where = nn.Linear(2, channels, bias=False)
        self.project = nn.Linear(channels, channels)

    def location(self, x: torch.Tensor) -> torch.Tensor:
        """Row and column that are looked at, the map's edges being −1 and 1: (B, C, H, W) → (B, 2)."""
        weights = at_least_single(self.place(x)).flatten(1).softmax(dim=1).unflatten(1, x.shape[2:])
        rows, columns = (pixel_centres(length, weights) for length in x.shape[2:])
        return torch.stack([weights.sum(dim=2) @ rows, weights.sum(dim=1) @ columns], dim=1)

    def patches(self, x: torch.Tensor, location: torch.Tensor) -> torch.Tensor:
        """Of a map (B, C, H, W) around a location (B, 2), from sharp to coarse, (B, scales, C, g, g)."""
        found = []
        for shrink in (2**scale for scale in range(self.scales)):
            side = self.size * shrink
            # As wide, beside the map, as the patch has pixels more than it.
            rows, columns = (
                location[:, axis, None] + pixel_centres(side, location) * (side / length)
                for axis, length in enumerate(x.shape[2:])
            )
            found.append(F.avg_pool2d(read(x, rows, columns), shrink))
        return torch.stack(found, dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        location = self.location(x)
        seen = self.patches(self.narrow(x), location).flatten(1)
        told = self.project(torch.relu(self.what(seen) + self.where(location.to(x.dtype))))
        return x + rearrange(told, "b c -> b c 1 1")
