"""Forecasters without weights, by name: persistence, extrapolation along the motion of the rain, pysteps' models."""

import inspect
from typing import Any

from nowcast.catalogue import Catalogue
from nowcast.contracts import Forecaster

CATALOGUE = Catalogue(__name__, "baseline")


def names() -> list[str]:
    """Names of all baselines, sorted."""
    return CATALOGUE.names()


def create_for(name: str, pixel_km: float, step_minutes: float) -> Forecaster:
    """Build a baseline by name with the grid length and time step of the data, where its method depends on them."""
    lengths = {"pixel_km": pixel_km, "step_minutes": step_minutes}
    known = inspect.signature(CATALOGUE.member(name)).parameters
    return create(name, **{option: value for option, value in lengths.items() if option in known})


def create(name: str, **options: Any) -> Forecaster:
    """Build a baseline by name. Raises InputError for a name or option that does not exist."""
    return CATALOGUE.create(name, **options)
