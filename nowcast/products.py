"""The one field a user asks a forecast for: no field serves every score.

The median has the least absolute error, the mean the least squared error, and both dry out as the forecast grows
uncertain. Matched values have the ranks of a mean and the distribution of the last observed frame, as the probability
matched mean of Ebert 2001 (doi 10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2) and the post-processing of S-PROG
(Seed 2003, doi 10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2): rain keeps its amount and area, so events are found.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import nn

from nowcast.models._output import output_of

Product = Literal["median", "mean", "matched"]


def product(kind: Product, network: nn.Module, forecast: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """One scaled field at each lead time, (B, steps, C, H, W).

    Args:
        kind: which; a network without a distribution has one field that stands for its median and its mean.
        network: that made the forecast.
        forecast: scaled, (B, steps, K, H, W) where the network has an `output`.
        last: the last past frame, (B, C, H, W) scaled, NaN where it was not observed.
    """
    output = output_of(network)
    if output is None:
        return matched(forecast, last) if kind == "matched" else forecast
    if kind == "median":
        return output.median(forecast)
    # Ranked by reflectivity: a mean of rates follows the few heaviest, and puts rain where it is merely possible.
    return matched(output.scaled_mean(forecast), last) if kind == "matched" else output.mean(forecast)


def matched(forecast: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Values of the last frame in the order of the forecast, (B, steps, C, H, W); what is not observed stays.

    The heaviest observed value goes where the forecast is heaviest, and so on. Where the forecast has no rain
    (0 or less) there is none.

    Args:
        forecast: scaled, any values.
        last: (B, C, H, W) scaled, NaN where not observed.
    """
    result = forecast.clone()
    for fields, frame in zip(
        rearrange(result, "b t c h w -> (b c) t (h w)"), rearrange(last, "b c h w -> (b c) (h w)"), strict=True
    ):
        known = ~frame.isnan()
        values = frame[known].sort().values
        for field in fields:
            ranked = field[known]
            order = ranked.argsort(stable=True)
            replaced = torch.empty_like(ranked)
            replaced[order] = values.to(ranked)
            field[known] = torch.where(ranked > 0, replaced, ranked.clamp_max(0))
    return result
