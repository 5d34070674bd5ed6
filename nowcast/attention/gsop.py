"""Global second-order pooling: channels, or places, gated by how they vary together.

Gao, Xie, Wang and Li 2018, arXiv 1811.12006.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm, norm_layer
from nowcast.attention._precision import at_least_single
from nowcast.contracts import InputError

__all__ = ["GlobalSecondOrderPooling"]

CARD = Card(
    family="channel",
    paper="Gao et al., Global Second-order Pooling Convolutional Networks",
    source="1811.12006",
    year=2018,
    equation="y = x ⊙ σ(W rows(norm Cov(δ(norm W_d δ(x)))))",
    time="O(CdN + d²N + d³)",
    memory="O(dN + d²)",
    note="Gates of places come from a grid of 8 × 8 cells. The authors' centre their covariance for d = 64 "
    "only and pass the gated map through a ReLU: form='code'.",
)

Variant = Literal["channel", "spatial", "both", "max"]
Form = Literal["paper", "code"]
SIDE = 8  # of the grid of cells


def covariance(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Σ xxᵀ/count − Σx Σxᵀ/count² over columns, of which there are `count`: (B, n, m) → (B, n, n, 1)."""
    exact = at_least_single(rows)
    total = exact.sum(dim=2, keepdim=True) / count
    return (exact @ exact.mT / count - total @ total.mT).to(rows.dtype).unsqueeze(3)


def row_perceptron(size: int, outputs: int, norm: Norm, between: nn.Module) -> nn.Module:
    """Norm, four products with each row of a matrix, and a layer with σ: (B, n, n, 1) → (B, C, 1, 1)."""
    return nn.Sequential(
        norm_layer(norm, size),
        nn.Conv2d(size, 4 * size, (size, 1), groups=size),
        between,
        nn.Conv2d(4 * size, outputs, 1),
        nn.Sigmoid(),
    )


class ChannelGate(nn.Module):
    """From the covariance of d channels over all positions: (B, C, H, W) → (B, C, 1, 1)."""

    def __init__(self, channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, width, 1, stride), norm_layer(norm, width), nn.ReLU()
        )
        self.excite = row_perceptron(width, channels, norm, nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = rearrange(self.reduce(x), "b d h w -> b d (h w)")
        return self.excite(covariance(rows, rows.shape[2]))


class PositionGate(nn.Module):
    """From the covariance of 64 cells of the map over d channels: (B, C, H, W) → (B, 1, H, W)."""

    def __init__(self, channels: int, width: int, form: Form, norm: Norm) -> None:
        super().__init__()
        self.form = form
        self.count = SIDE**2 if form == "code" else width
        self.reduce = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, width, 1), norm_layer(norm, width), nn.AdaptiveAvgPool2d(SIDE)
        )
        self.excite = row_perceptron(SIDE**2, SIDE**2, norm, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = rearrange(self.reduce(x), "b d h w -> b (h w) d")
        cells = rearrange(self.excite(covariance(rows, self.count)), "b (h w) 1 1 -> b 1 h w", h=SIDE)
        if self.form == "code":
            return F.adaptive_avg_pool2d(cells, (x.shape[2], x.shape[3]))
        return F.interpolate(cells, x.shape[2:], mode="bilinear")


class GlobalSecondOrderPooling(nn.Module):
    """Gate channels by their covariance over positions, or positions by theirs over channels, or both.

    (B, C, H, W) → (B, C, H, W). x is reduced to d channels; each row of their d × d covariance is summed up
    by four products with learnt rows, and a layer makes gates of all. For positions the map is pooled to
    8 × 8 cells first, and gates of cells are interpolated to the map.

    Args:
        channels: C.
        variant: "channel", the paper's best, "spatial", "both" for the sum of both gated maps, or "max" for
            the larger value of both.
        width: d, 128 in the paper; None takes 128, or C where that is less.
        stride: between the pixels that channel gates look at; the authors take 2 up to 256 channels.
        form: "paper", or "code" for the released network's spatial part, where the covariance is centred only
            if d = 64, gates of cells are repeated and the gated map passes a ReLU.
        norm: of the reduced map and of the covariance, "group", or "batch" as in the paper.

    Raises:
        InputError: for a width or a stride below 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        variant: Variant = "channel",
        width: int | None = None,
        stride: int = 1,
        form: Form = "paper",
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        width = min(128, channels) if width is None else width
        if width < 1 or stride < 1:
            raise InputError(f"gsop needs a width and a stride of 1 or more, not {width} and {stride}")
        self.variant, self.form = variant, form
        self.channel = ChannelGate(channels, width, stride, norm) if variant != "spatial" else None
        self.position = PositionGate(channels, width, form, norm) if variant != "channel" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gated = []
        if self.channel is not None:
            gated.append(x * self.channel(x))
        if self.position is not None:
            places = x * self.position(x)
            gated.append(torch.relu(places) if self.form == "code" else places)
        if self.variant == "max":
            return torch.maximum(*gated)
        return torch.stack(gated).sum(dim=0) if len(gated) > 1 else gated[0]
