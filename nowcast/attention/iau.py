"""Interaction, aggregation and update: channels told by channels, then parts by parts, in and between frames.

Hou, Ma, Chang, Gu, Shan and Chen 2020, arXiv 2009.01035.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._parts import PartReader, PartUpdate
from nowcast.attention.ciau import ChannelInteraction

__all__ = ["InteractionAggregationUpdate"]

CARD = Card(
    family="mixed",
    paper="Hou et al., IAUnet: Global Context-Aware Feature Learning for Person Re-Identification",
    source="2009.01035",
    year=2020,
    equation="y = tiau(ciau(x)), parts linked in and between frames",
    time="O(T²C²N + TPCN + T²P²C), P parts",
    memory="O(TCN + T²C² + T²P²C)",
    shape="BTCHW",
    note="Of a single frame this is ciau, then siau. Channels of all frames are compared with each other.",
)


class InteractionAggregationUpdate(nn.Module):
    """Mix channels that resemble each other, then let parts of frames inform each other.

    (B, T, C, H, W) → (B, T, C, H, W). `ciau` among the channels of all frames, then `tiau` with links between
    different parts of a frame and between frames of a part. Scales of both last norms start at 0.

    Args:
        channels: C.
        parts: how many in a frame, 4 in the paper.
        reduction: C / width of a part's node, 2 in the paper.
        scaled: whether products of channels are divided by √N; the paper's are not.
        published: whether nodes are sums in place of means and edges have terms without effect, as in the authors'
            code.
        norm: "group", or "batch" as in the paper.

    Raises:
        InputError: for less than one part.
    """

    def __init__(
        self,
        channels: int,
        *,
        parts: int = 4,
        reduction: int = 2,
        scaled: bool = True,
        published: bool = False,
        norm: Norm = "group",
    ) -> None:
        super().__init__()
        self.reader = PartReader(channels, parts, reduction, "both", "all", published, norm)
        self.channel = ChannelInteraction(channels, scaled=scaled, norm=norm)
        self.update = PartUpdate(self.reader.width, channels, norm)

    def of_map(self, x: torch.Tensor) -> torch.Tensor:
        """The same for a single frame, (B, C, H, W) → (B, C, H, W)."""
        return self(x.unsqueeze(1)).squeeze(1)

    def of_volume(self, x: torch.Tensor) -> torch.Tensor:
        """The same in the layout of 3-D convolutions, (B, C, T, H, W) → (B, C, T, H, W)."""
        return rearrange(self(rearrange(x, "b c t h w -> b t c h w")), "b t c h w -> b c t h w")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.channel.over_frames(x)
        _, nodes, whole = self.reader(x)
        return x + self.update(nodes, whole)
