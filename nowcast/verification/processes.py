"""Scores of several processes as one."""

import numpy as np
import torch
import torch.distributed as dist

from nowcast.verification._sums import HasSums

__all__ = ["all_reduce"]


def all_reduce(score: HasSums) -> None:
    """Give each process's score the sums of all processes: one reduction of counts and one of sums.

    Every process must call it, with a score made in the same way, and once: a second call adds the totals up again.
    Without several processes it does nothing.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    for kind in (np.int64, np.float64):
        arrays = [array for _, array in sorted(score.sums.items()) if array.dtype == kind]
        if not arrays:
            continue
        total = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)
        dist.all_reduce(total)
        parts = np.split(total.cpu().numpy(), np.cumsum([array.size for array in arrays])[:-1])
        for array, part in zip(arrays, parts, strict=True):
            array[...] = part.reshape(array.shape)
