"""The one field a user asks a forecast for: no field serves every score.

The median has the least absolute error, the mean the least squared error, and both dry out as the forecast grows
uncertain. Matched values have the ranks of a mean and the distribution of the last observed frame, as the probability
matched mean of Ebert 2001 (doi 10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2) and the post-processing of S-PROG
(Seed 2003, doi 10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2): rain keeps its amount and area, so events are found.

Events are the answer where CSI counts: at every rate at once the field has the events of greatest expected CSI. They
are the pixels whose probability reaches half of the F1 score that they get (Lipton, Elkan and Naryanaswamy 2014, arXiv
1402.1892; CSI = F1 / (2 − F1) rises with F1), which only a network with a distribution can tell.
"""

from typing import Literal, get_args

import torch
from einops import rearrange
from torch import nn

from nowcast.contracts import InputError
from nowcast.likelihoods import EDGES
from nowcast.models._output import Output, output_of
from nowcast.scaling import scale

Product = Literal["median", "mean", "matched", "events"]
OF_ONE_FIELD: tuple[Product, ...] = ("median", "mean", "matched")  # what a network without a distribution has


def product(kind: Product, network: nn.Module, forecast: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """One scaled field at each lead time, (B, steps, C, H, W).

    Args:
        kind: which; a network without a distribution has one field that stands for its median and its mean.
        network: that made the forecast.
        forecast: scaled, (B, steps, K, H, W) where the network has an `output`.
        last: the last past frame, (B, C, H, W) scaled, NaN where it was not observed.

    Raises:
        InputError: for a product that the network does not have.
    """
    output = output_of(network)
    offered = get_args(Product) if output else OF_ONE_FIELD
    if kind not in offered:
        raise InputError(
            f"{type(network).__name__} makes one forecast and no distribution, of which there is no product {kind!r}; "
            f"it has {', '.join(offered)}"
        )
    if output is None:
        return matched(forecast, last) if kind == "matched" else forecast
    if kind == "median":
        return output.median(forecast)
    if kind == "events":
        return events(output, forecast, last)
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


def events(output: Output, forecast: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """The field whose events at each rate of a ladder have the greatest expected CSI, (B, steps, 1, H, W).

    A pixel is as high on the ladder as it is in the events of all rates so far, and between two rates where the margin
    of its probability over the critical one passes zero; below the lowest (0.1 mm/h) it is dry, and no value is above
    the highest (50 mm/h).

    Args:
        output: what the fields mean.
        forecast: (B, steps, K, H, W), as a network makes it.
        last: (B, 1, H, W); NaN where not observed, so that events there shall count for nothing.
    """
    return torch.cat([_climb(output.exceedance(lead, EDGES), ~last.isnan()) for lead in forecast.split(1, 1)], dim=1)


def critical_probability(chance: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The least probability with which a pixel belongs to the events of greatest expected F1 score, and CSI.

    The best events are {p ≥ F / 2}, F being the F1 score expected of them, 2 Σ_events p / (events + Σ p). From F = 0,
    all pixels, one step gives a set that is no worse, and its F, until nothing changes (Dinkelbach 1967, doi
    10.1287/mnsc.13.7.492). F is a ratio of expected counts, for many pixels; where less than one is expected to have
    an event there is none, and the critical probability is 1.

    Args:
        chance: (B, rates, H, W), p.
        known: (B, 1, H, W), bool, the pixels that count.

    Returns:
        (B, rates, 1, 1).
    """
    expected = _count(chance * known)
    best = torch.zeros_like(expected)
    while True:
        chosen = (chance >= best / 2) & known
        score = 2 * _count(chance * chosen) / (_count(chosen) + expected).clamp_min(1)
        if (score <= best).all():
            return torch.where(expected < 1, 1.0, best / 2)
        best = torch.maximum(best, score)


def _climb(chance: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The field of one lead time, from the probabilities of all rates of the ladder, (B, 1, rates, H, W)."""
    chance = chance[:, 0]
    margin = chance - critical_probability(chance, known)
    inside = (margin >= 0).int().cumprod(dim=1)
    rungs = scale(torch.tensor(EDGES, device=chance.device))[0]
    reached = inside.sum(dim=1, keepdim=True)
    # Both are the same rung at the top, where there is nothing to climb to.
    below, above = (reached - 1).clamp_min(0), reached.clamp_max(len(EDGES) - 1)
    over, under = margin.gather(1, below), -margin.gather(1, above)
    share = (over / (over + under).clamp_min(1e-12)).clamp(0, 1)
    value = rungs[below] + share * (rungs[above] - rungs[below])
    return torch.where(reached > 0, value, 0.0)[:, None].float()


def _count(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.sum(dim=(-2, -1), keepdim=True, dtype=torch.float64)
