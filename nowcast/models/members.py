"""Any network, forecasting an ensemble: noise goes in beside the past, a draw of the future comes out.

Trained with `nowcast.likelihoods.AlmostFairCRPS` as AIFS-CRPS is, Lang et al. 2024, arXiv 2412.15832.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import nn
from torch.nn import functional as F

from nowcast import models
from nowcast.contracts import InputError
from nowcast.lessons import margin_of, train_forward
from nowcast.models._distribution import one_channel
from nowcast.models._output import MemberOutput

__all__ = ["Members"]


class Members(nn.Module):
    """Each member is the network inside on the same past and new noise; members stand side by side in the batch.

    (B, past_frames, 1, H, W) → (B, steps, M, H, W), scaled. Noise is standard normal, one channel beside the rain for
    each grain, independent from cell to cell and frame to frame. What the network inside makes of the noise channels
    themselves is left out. Each call draws anew.

    Args:
        past_frames: T_in.
        steps: T_out.
        channels: C, which is 1.
        network: what makes a member: the name of a network, or {name: se_resunet, width: 32}.
        members: M in training, and how many are made at once.
        forecast_members: M otherwise.
        grains: sizes in pixels of the cells of each noise channel; coarse ones change the large scales together.

    Raises:
        InputError: for other channels than one, or members or grains below 1.
    """

    def __init__(
        self,
        past_frames: int,
        steps: int,
        channels: int = 1,
        network: Any = "se_resunet",
        members: int = 4,
        forecast_members: int = 16,
        grains: Sequence[int] = (1, 16),
    ) -> None:
        one_channel("Members", channels)
        if min(members, forecast_members) < 1 or not grains or min(grains) < 1:
            raise InputError(
                f"Members needs members, forecast_members and grains of at least 1, not {members}, {forecast_members} "
                f"and {list(grains)}"
            )
        super().__init__()
        self.network = models.create(network, past_frames=past_frames, steps=steps, channels=1 + len(grains))
        self.output, self.margin = MemberOutput(), margin_of(self.network)
        self.members, self.forecast_members, self.grains = members, forecast_members, tuple(grains)

    def forward(self, past: torch.Tensor, count: int | None = None) -> torch.Tensor:
        """(B, T_in, 1, H, W) → (B, steps, count, H, W); `count` instead of the number of members it is set to."""
        if count is None:
            count = self.members if self.training else self.forecast_members
        if count < 1:
            raise InputError(f"an ensemble has at least 1 member, not {count}")
        at_once = [min(self.members, count - made) for made in range(0, count, self.members)]
        return torch.cat([_apart(self.network(self._noisy(past, many)), many) for many in at_once], dim=2)

    def train_forward(
        self, past: torch.Tensor, future: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The forecast in training and what the network inside adds to the loss."""
        noisy = self._noisy(past, self.members), self._noisy(future, self.members)
        fields, extra = train_forward(self.network, *noisy, progress)
        return _apart(fields, self.members), extra

    def _noisy(self, frames: torch.Tensor, members: int) -> torch.Tensor:
        frames = repeat(frames, "b t c h w -> (b m) t c h w", m=members)
        return torch.cat([frames, *(_noise(frames, grain) for grain in self.grains)], dim=2)


def _noise(frames: torch.Tensor, grain: int) -> torch.Tensor:
    samples, times, _, height, width = frames.shape
    cells = torch.randn(samples, times, -(-height // grain), -(-width // grain), device=frames.device)
    noise = F.interpolate(cells, scale_factor=grain)[..., :height, :width]
    return rearrange(noise, "b t h w -> b t 1 h w").to(frames.dtype)


def _apart(fields: torch.Tensor, members: int) -> torch.Tensor:
    """Members out of the batch, and the rain of them alone."""
    return rearrange(fields[:, :, 0], "(b m) t h w -> b t m h w", m=members)
