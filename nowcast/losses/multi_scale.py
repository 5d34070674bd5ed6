"""A pyramid of coarser fields under any loss, so that rain in nearly the right place earns something."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange

from nowcast.contracts import InputError
from nowcast.losses.loss import Loss


class MultiScale(Loss):
    """The weighted mean of a loss over fields averaged to coarser and coarser pixels.

    A coarse pixel is the mean over its known pixels in network space, and known where at least half of them are.
    Blocks that reach over the lower or right edge average what is inside.

    Args:
        loss: of the fields at each scale.
        scales: edge lengths of the coarse pixels, in pixels; 1 is the field itself.
        weights: of each scale; all alike when left out.
    """

    def __init__(
        self, loss: Loss, scales: Sequence[int] = (1, 2, 4, 8), weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        weights = [1.0] * len(scales) if weights is None else list(weights)
        if not scales or len(weights) != len(scales) or min(scales) < 1 or min(weights) < 0 or sum(weights) <= 0:
            raise InputError(f"MultiScale needs scales of 1 and more, each with a weight, not {scales} and {weights}")
        self.loss, self.scales, self.weights = loss, list(scales), weights

    def over_known(self, predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        losses = [self.loss(*coarsened(predicted, target, known, scale)) for scale in self.scales]
        return sum(w * loss for w, loss in zip(self.weights, losses, strict=True)) / sum(self.weights)


def coarsened(
    predicted: torch.Tensor, target: torch.Tensor, known: torch.Tensor, scale: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Fields (B, T, C, H, W) that are 0 where not known, averaged over blocks of scale × scale pixels."""
    if scale == 1:
        return predicted, target, known
    fields = rearrange([predicted, target, known.float()], "field b t c h w -> b (field t c) h w")
    means = F.avg_pool2d(fields, scale, ceil_mode=True)
    predicted, target, share = rearrange(
        means, "b (field t c) h w -> field b t c h w", field=3, t=known.shape[1], c=known.shape[2]
    )
    shares = share.clamp_min(1 / scale**2)  # never less where anything is known
    return predicted / shares, target / shares, share >= 0.5
