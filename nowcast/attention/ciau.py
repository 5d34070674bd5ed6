"""Channel interaction: every channel told by the channels that look like it.

Hou, Ma, Chang, Gu, Shan and Chen 2020, arXiv 2009.01035.
"""

import torch
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._norm import Norm
from nowcast.attention._parts import project_frames, zero_projection
from nowcast.attention._precision import at_least_single

__all__ = ["ChannelInteraction"]

CARD = Card(
    family="channel",
    paper="Hou et al., IAUnet: Global Context-Aware Feature Learning for Person Re-Identification",
    source="2009.01035",
    year=2020,
    equation="y = x + norm W softmax(XXᵀ/√N) X, X the C × N matrix of x",
    time="O(C²N)",
    memory="O(C² + CN)",
    note="The paper has no 1/√N; without it the softmax picks one channel on maps of radar size.",
)


class ChannelInteraction(nn.Module):
    """Add to each channel a mixture of those that resemble it: y = x + norm W softmax(XXᵀ/√N) X.

    (B, C, H, W) → (B, C, H, W). X is the C × N matrix of a map; the norm's scale starts at 0.

    Args:
        channels: C.
        scaled: whether products are divided by √N; the paper's are not.
        norm: "group", or "batch" as in the paper.
    """

    def __init__(self, channels: int, *, scaled: bool = True, norm: Norm = "group") -> None:
        super().__init__()
        self.scaled = scaled
        self.update = zero_projection(channels, channels, norm)

    def over_frames(self, x: torch.Tensor) -> torch.Tensor:
        """The same among all channels of all frames, (B, T, C, H, W) → (B, T, C, H, W)."""
        rows = at_least_single(rearrange(x, "b t c h w -> b (t c) (h w)"))
        keys = rows * rows.shape[2] ** -0.5 if self.scaled else rows
        weights = (rows @ keys.mT).softmax(dim=2)
        mixed = rearrange((weights @ rows).to(x.dtype), "b (t c) n -> b t c n", t=x.shape[1])
        return x + project_frames(self.update, mixed.view_as(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.over_frames(x.unsqueeze(1)).squeeze(1)
