"""Forecasters without weights, by name: persistence, extrapolation along the motion of the rain."""

from typing import Any

from nowcast.catalogue import Catalogue
from nowcast.contracts import Forecaster

CATALOGUE = Catalogue(__name__, "baseline")


def names() -> list[str]:
    """Names of all baselines, sorted."""
    return CATALOGUE.names()


def create(name: str, **options: Any) -> Forecaster:
    """Build a baseline by name. Raises InputError for a name or option that does not exist."""
    return CATALOGUE.create(name, **options)
