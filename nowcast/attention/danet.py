"""Dual attention head: attention over positions and over channels, side by side.

Fu, Liu, Tian, Li, Bao, Fang and Lu 2019, arXiv 1809.02983.
"""

import torch
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._convolution import conv_norm_relu
from nowcast.attention._norm import Norm
from nowcast.attention._width import reduced
from nowcast.attention.cam import ChannelAttention, Divisor, Form
from nowcast.attention.pam import PositionAttention
from nowcast.contracts import InputError

__all__ = ["DualAttention"]

CARD = Card(
    family="self-attention",
    paper="Fu et al., Dual Attention Network for Scene Segmentation",
    source="1809.02983",
    year=2018,
    equation="y = W (conv₃ PAM(conv₃ x) + conv₃ CAM(conv₃ x))",
    time="O(CN²/r + C²N/r)",
    memory="O(CN/r)",
    note="Dropout is left to the network around it.",
)


class DualAttention(nn.Module):
    """Sum what two attentions make of the map: y = W (conv PAM(conv x) + conv CAM(conv x)).

    (B, C, H, W) → (B, C, H, W). Every 3×3 convolution is followed by a norm and ReLU; x itself is not added.

    Args:
        channels: C.
        reduction: ratio r of the width inside, 4 in the paper.
        norm: behind the convolutions, "batch" in the paper.
        form: of the channel attention: "paper", or "code" (see cam).
        divisor: of the channel attention's products (see cam). With None, the paper's, each channel of a
            large map attends to itself alone, and the norm that follows takes even that away.
        key_bias: whether keys of the position attention have a bias, as in the authors' network.
        auxiliary: whether each branch has an output of its own as well, for `outputs`; only losses on these
            teach it.
        minimum: least width inside.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 4,
        norm: Norm = "group",
        form: Form = "paper",
        divisor: Divisor | None = None,
        key_bias: bool = False,
        auxiliary: bool = False,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        width = reduced(channels, reduction, minimum)
        self.before_position = conv_norm_relu(channels, width, 3, norm)
        self.before_channel = conv_norm_relu(channels, width, 3, norm)
        self.position = PositionAttention(width, reduction=min(8, width), key_bias=key_bias)
        self.channel = ChannelAttention(width, form=form, divisor=divisor)
        self.after_position = conv_norm_relu(width, width, 3, norm)
        self.after_channel = conv_norm_relu(width, width, 3, norm)
        self.auxiliary = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in range(2 * auxiliary))
        self.project = nn.Conv2d(width, channels, 1)

    def branches(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What position and channel attention give, (B, C/r, H, W) each."""
        position = self.after_position(self.position(self.before_position(x)))
        channel = self.after_channel(self.channel(self.before_channel(x)))
        return position, channel

    def outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The output of both, of the positions and of the channels, for a loss on each.

        Raises:
            InputError: without auxiliary outputs.
        """
        if not self.auxiliary:
            raise InputError("danet has one output; auxiliary=True gives each branch its own")
        position, channel = self.branches(x)
        of_position, of_channel = self.auxiliary
        return self.project(position + channel), of_position(position), of_channel(channel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        position, channel = self.branches(x)
        return self.project(position + channel)
