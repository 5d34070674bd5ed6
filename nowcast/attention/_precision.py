"""Steps that need more digits than half precision has."""

import torch


def at_least_single(x: torch.Tensor) -> torch.Tensor:
    """x in float32 where it has half precision (weights of that type, or autocast), else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
