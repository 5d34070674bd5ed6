"""Attention proposal: a box is proposed, looked at under a lens, and corrected by what the lens shows.

Fu, Zheng and Mei 2017, Look Closer to See Better, CVPR.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._precision import at_least_single
from nowcast.attention._sample import pixel_centres, read
from nowcast.attention._size import rows_and_columns
from nowcast.attention._width import reduced
from nowcast.contracts import InputError

__all__ = ["AttentionProposal"]

CARD = Card(
    family="origin",
    paper="Fu et al., Look Closer to See Better: Recurrent Attention Convolutional Neural Network",
    source="CVPR 2017, 10.1109/CVPR.2017.476",
    year=2017,
    equation="y = x + M ⊙ unzoom(f(zoom(M ⊙ x))), M = [h(r−r₀) − h(r−r₁)] [h(c−c₀) − h(c−c₁)], h(t) = σ(kt)",
    time="O(CN + C²N/r + z²C²/r), z × z pixels under the lens",
    memory="O(CN + z²C)",
    note="One box, which learns from the loss of the whole network. The paper's deeper boxes in boxes, each with a "
    "classifier, and the loss that ranks them are not here.",
)


class AttentionProposal(nn.Module):
    """Propose a box, enlarge what is in it, and add what a convolution finds there back in its place.

    (B, C, H, W) → (B, C, H, W). A perceptron of the map in coarse cells gives centre and half-size of a box that
    lies inside the map. The map under the box's soft mask M is enlarged bilinearly to z × z pixels, goes through
    f (3×3 convolution to C/r, ReLU, 1×1 convolution to C), is shrunk back into the box, masked and added.

    Args:
        channels: C.
        grid: rows and columns of cells that the box is proposed from.
        zoom: z, pixels along a side of the enlarged box.
        smallest: least half-size of the box as a share of the map's side, 1/3 in the paper; 1/2 is all of the map.
        sharpness: k of the mask's edges, in 1/pixel, 10 in the paper.
        reduction: r.
        minimum: least width of both bottlenecks.

    Raises:
        InputError: for a grid that is no size, a zoom below 1, a smallest box that is none or larger than the map,
            or edges that are not sharp at all.
    """

    def __init__(
        self,
        channels: int,
        *,
        grid: Sequence[int] = (7, 7),
        zoom: int = 14,
        smallest: float = 1 / 3,
        sharpness: float = 10.0,
        reduction: int = 4,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        if not 0 < smallest <= 0.5:
            raise InputError(f"attention_proposal has boxes of half-size from 0 to 0.5, such as 0.33, not {smallest}")
        if zoom < 1 or sharpness <= 0:
            raise InputError(
                f"attention_proposal needs zoom and sharpness above 0, such as 14 and 10, not {zoom} and {sharpness}"
            )
        self.grid, self.zoom = rows_and_columns("attention_proposal", grid), zoom
        self.smallest, self.sharpness = smallest, sharpness
        width = reduced(channels, reduction, minimum)
        self.narrow = nn.Conv2d(channels, width, 1)
        self.propose = nn.Sequential(
            nn.Linear(width * self.grid[0] * self.grid[1], channels), nn.Tanh(), nn.Linear(channels, 3)
        )
        self.look = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, channels, 1))

    def box(self, x: torch.Tensor) -> torch.Tensor:
        """Row and column of the centre and the half-size, as shares of the map's sides: (B, C, H, W) → (B, 3)."""
        cells = F.adaptive_avg_pool2d(self.narrow(x), self.grid)
        raw = torch.sigmoid(at_least_single(self.propose(cells.flatten(1))))
        half = self.smallest + (0.5 - self.smallest) * raw[:, 2:]
        return torch.cat([half + (1 - 2 * half) * raw[:, :2], half], dim=1)

    def mask(self, x: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """M, near 1 in the box and near 0 outside, for maps of the size of x: (B, 1, H, W)."""
        sides = []
        for centre, length in zip(box[:, :2].unbind(1), x.shape[2:], strict=True):
            pixels = torch.arange(length, dtype=box.dtype, device=box.device) + 0.5
            edges = (centre[:, None] - box[:, 2:]) * length, (centre[:, None] + box[:, 2:]) * length
            first, last = (torch.sigmoid(self.sharpness * (pixels - edge)) for edge in edges)
            sides.append(first - last)
        return torch.einsum("bh, bw -> bhw", *sides).unsqueeze(1).to(x.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        box = self.box(x)
        mask = self.mask(x, box)
        centre, half = 2 * box[:, :2] - 1, 2 * box[:, 2:]  # the map's edges being −1 and 1
        inside = pixel_centres(self.zoom, box) * half
        enlarged = read(x * mask, inside + centre[:, :1], inside + centre[:, 1:], beyond="border")
        rows, columns = (
            (pixel_centres(length, box) - centre[:, axis, None]) / half for axis, length in enumerate(x.shape[2:])
        )
        return x + mask * read(self.look(enlarged), rows, columns, beyond="border")
