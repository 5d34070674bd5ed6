"""Which pixels are judged: the same ones for every forecast that is compared."""

from typing import Literal, NamedTuple

import torch

# "observed": all pixels that radar observed. A missing forecast counts as dry there, so that leaving out the
# difficult pixels is no way to a better score. "common": only pixels that are both observed and forecast.
Pixels = Literal["observed", "common"]


class Judged(NamedTuple):
    """A forecast beside the observation, each (B, T_out, C, H, W)."""

    forecast: torch.Tensor  # mm/h, 0 where missing or not judged; several fields come first, (K, B, T_out, C, H, W)
    observed: torch.Tensor  # mm/h, 0 where not judged
    known: torch.Tensor  # bool: the pixels that are judged
    missing: torch.Tensor  # bool: observed, but without a forecast


def judge(forecast: torch.Tensor, observed: torch.Tensor, pixels: Pixels) -> Judged:
    """Fields in mm/h with NaN as finite fields and the pixels that count.

    The forecast may hold several fields, first; then each missing one counts as dry by itself, and "common"
    takes the pixels that all have.
    """
    is_observed, is_forecast = ~torch.isnan(observed), ~torch.isnan(forecast)
    complete = is_forecast.all(dim=0) if forecast.ndim > observed.ndim else is_forecast
    known = is_observed & complete if pixels == "common" else is_observed
    return Judged(
        forecast=torch.where(known & is_forecast, forecast, 0),
        observed=torch.where(known, observed, 0),
        known=known,
        missing=is_observed & ~complete,
    )
