"""Values of a radar variable in mm/h, from what its `units` attribute says they are."""

import numpy as np

from nowcast.contracts import InputError
from nowcast.scaling import ZR_A, ZR_B

RATE_UNITS = {
    "mm h-1",
    "mm/h",
    "mm/hr",
    "mm h^-1",
    "mm hr-1",
    "mm hour-1",
    "mmh-1",
    "mm.h-1",
    "mm h**-1",
    "kg m-2 h-1",
}
FLUX_UNITS = {"kg m-2 s-1", "mm s-1", "mm/s"}
METRE_RATE_UNITS = {"m s-1", "m/s"}
DEPTH_UNITS = {"mm", "kg m-2"}
DBZ_UNITS = {"dbz", "dbz(mm6 m-3)"}
KNOWN_UNITS = "mm h-1 (rain rate), mm (accumulation over a time step), kg m-2 s-1, m s-1 or dBZ"


def is_rain(units: str | None) -> bool:
    """Whether a variable of these units can hold radar rain."""
    text = _clean(units)
    return text in RATE_UNITS | FLUX_UNITS | METRE_RATE_UNITS | DEPTH_UNITS | DBZ_UNITS


def to_rate(values: np.ndarray, units: str | None, step_s: float, a: float = ZR_A, b: float = ZR_B) -> np.ndarray:
    """Values in mm/h, NaN kept.

    Args:
        values: as stored, any shape.
        units: the `units` attribute.
        step_s: time step in seconds, over which accumulations were taken.
        a, b: of Z = a R^b for reflectivity.

    Raises:
        InputError: for units that are none of a rate, an accumulation or a reflectivity.
    """
    text = _clean(units)
    if text in RATE_UNITS:
        return values
    if text in FLUX_UNITS:
        return values * 3600.0
    if text in METRE_RATE_UNITS:
        return values * 3.6e6
    if text in DEPTH_UNITS:
        return values * (3600.0 / step_s)
    if text in DBZ_UNITS:
        return (10 ** (values / 10) / a) ** (1 / b)
    raise InputError(f"units {units!r} are none of {KNOWN_UNITS}")


def _clean(units: str | None) -> str:
    return " ".join(str(units or "").lower().split())
