"""Where a forecast comes from, as attributes of its file."""

from collections.abc import Mapping, Sequence
from typing import Any

import nowcast
from nowcast.contracts import Forecaster


def attributes(
    forecaster: Forecaster, observations: Sequence[str], observed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Global attributes of a forecast file: which model, from which checkpoint, of which observations.

    Args:
        forecaster: that made it.
        observations: names of files.
        observed: their global attributes, of which the institution is taken over.
    """
    kept = {key: str(value) for key, value in (observed or {}).items() if key == "institution"}
    return {
        "source": f"nowcast {nowcast.__version__}, {forecaster.name}",
        "model": forecaster.name,
        "nowcast_version": nowcast.__version__,
        "observations": ", ".join(sorted(set(observations))),
        **kept,
        **forecaster.describe(),
    }
