"""Maps cut into patches of equal size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange


def cut(x: torch.Tensor, patch: Sequence[int], fill: float = 0.0) -> torch.Tensor:
    """(B, C, H, W) → (B, C, P, M): M patches row by row, and the P pixels of each row by row.

    Args:
        x: a map of any size; it is filled up at the right and at the bottom to whole patches.
        patch: rows and columns of a patch.
        fill: what the map is filled up with.
    """
    rows, columns = patch
    whole = F.pad(x, (0, -x.shape[3] % columns, 0, -x.shape[2] % rows), value=fill)
    return rearrange(whole, "b c (i p) (j q) -> b c (p q) (i j)", p=rows, q=columns)


def joined(patches: torch.Tensor, patch: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """The map that `cut` made these patches of, as large as the map `like`: (B, C, P, M) → (B, C, H, W)."""
    (rows, columns), (height, width) = patch, like.shape[2:]
    whole = rearrange(patches, "b c (p q) (i j) -> b c (i p) (j q)", p=rows, q=columns, i=-(-height // rows))
    return whole[:, :, :height, :width]


def filling(x: torch.Tensor, patch: Sequence[int]) -> torch.Tensor | None:
    """What to add to logits so that a softmax leaves out what patches are filled up with, (P, M).

    None where there is nothing to leave out. The number is finite: a softmax of nothing else is finite too.
    """
    if x.shape[2] % patch[0] == 0 and x.shape[3] % patch[1] == 0:
        return None
    inside = x.new_zeros(1, 1, *x.shape[2:])
    return rearrange(cut(inside, patch, fill=torch.finfo(x.dtype).min / 2), "1 1 p m -> p m")
