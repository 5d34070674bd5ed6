"""Softmax attention of each pixel to its own row and column."""

import torch

from nowcast.attention._precision import at_least_single


def attend_across(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """One softmax over the H + W − 1 pixels in line with each pixel, itself among them once.

    (B, D, H, W), (B, D, H, W) and (B, C, H, W) → (B, C, H, W), holding N(H + W) weights.
    """
    queries, keys = at_least_single(queries), at_least_single(keys)
    height, width = queries.shape[2:]
    with torch.autocast(queries.device.type, enabled=False):
        column = torch.einsum("bdhw, bdgw -> bhwg", queries, keys)
        row = torch.einsum("bdhw, bdhv -> bhwv", queries, keys)
    # A pixel finds itself in its row already. The lowest finite number leaves no weight where the row has any.
    itself = torch.eye(height, dtype=torch.bool, device=queries.device).unsqueeze(1)
    column = column.masked_fill(itself, torch.finfo(column.dtype).min)
    weights = torch.cat([column, row], dim=3).softmax(dim=3).to(values.dtype)
    down, along = weights.split([height, width], dim=3)
    return torch.einsum("bhwg, bcgw -> bchw", down, values) + torch.einsum("bhwv, bchv -> bchw", along, values)
