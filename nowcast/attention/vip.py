"""Weighted permute-MLP of the Vision Permutator: pixels mixed along columns and along rows, and channels.

Hou, Jiang, Yuan, Cheng, Yan and Feng 2021, arXiv 2106.12368.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from nowcast.attention._card import Card
from nowcast.attention._split import split_into
from nowcast.attention._width import reduced

__all__ = ["WeightedPermuteMLP"]

CARD = Card(
    family="mixed",
    paper="Hou et al., Vision Permutator: A Permutable MLP-Like Architecture for Visual Recognition",
    source="2106.12368",
    year=2021,
    equation="y = W_o Σ_b softmax_b(MLP(GAP(h + w + c)))_b ⊙ b over b = h, w, c, with h, w, c = W_h x, W_w x, W_c x",
    time="O(C²N)",
    memory="O(CN)",
    note="The paper mixes whole rows and columns, which ties it to maps of S × S; ours mixes stretches of S "
    "pixels, with zeros beyond the border, so that any size works and pixels further apart do not meet.",
)


class WeightedPermuteMLP(nn.Module):
    """Mix stretches of columns, stretches of rows, and channels, and weigh the three by channel.

    (B, C, H, W) → (B, C, H, W). Channels are cut into S segments of C/S; along a column the S pixels of a
    stretch hold C values of each segment, which one matrix mixes; so along a row. On a map of S × S this is
    the paper's.

    Args:
        channels: C.
        segments: S, also the length of a stretch in pixels; None takes what of 8 divides C.
        reduction: ratio of the perceptron's bottleneck, 4 in the paper.
        bias: whether the three mixing matrices have biases; the authors' have none.
        minimum: least width of the bottleneck.

    Raises:
        InputError: for segments that do not divide C.
    """

    def __init__(
        self,
        channels: int,
        *,
        segments: int | None = None,
        reduction: int = 4,
        bias: bool = False,
        minimum: int = 8,
    ) -> None:
        super().__init__()
        self.segments = split_into("vip segments", segments, 8, channels)
        self.channels, self.columns, self.rows = (nn.Linear(channels, channels, bias=bias) for _ in range(3))
        width = reduced(channels, reduction, minimum)
        self.weigh = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, 3 * channels))
        self.project = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = rearrange(x, "b c h w -> b h w c")
        parts = (
            self._mixed(pixels.transpose(1, 2), self.columns).transpose(1, 2),
            self._mixed(pixels, self.rows),
            self.channels(pixels),
        )
        pooled = (parts[0] + parts[1] + parts[2]).mean(dim=(1, 2))
        weights = rearrange(self.weigh(pooled), "b (c part) -> part b 1 1 c", part=3).softmax(dim=0)
        y = self.project(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
        return rearrange(y, "b h w c -> b c h w")

    def _mixed(self, x: torch.Tensor, mix: nn.Linear) -> torch.Tensor:
        """Stretches along the third axis, each segment of channels by itself: (B, lines, pixels, C), the same."""
        length, segments = x.shape[2], self.segments
        whole = F.pad(x, (0, 0, 0, -length % segments))
        stretches = rearrange(
            whole, "b i (stretch p) (segment s) -> b i stretch segment (p s)", p=segments, segment=segments
        )
        mixed = rearrange(mix(stretches), "b i stretch segment (p s) -> b i (stretch p) (segment s)", p=segments)
        return mixed[:, :, :length]
