"""What follows from the members of an ensemble."""

from collections.abc import Sequence

import torch
from einops import rearrange


def share_reaching(ensemble: torch.Tensor, thresholds: Sequence[float]) -> torch.Tensor:
    """(B, M, steps, C, H, W) mm/h → (B, steps, K, C, H, W), share of members that reach each of K thresholds."""
    unknown = torch.isnan(ensemble)
    shares = [(ensemble >= threshold).to(ensemble.dtype).masked_fill(unknown, torch.nan) for threshold in thresholds]
    return rearrange([share.mean(dim=1) for share in shares], "k b t c h w -> b t k c h w")
