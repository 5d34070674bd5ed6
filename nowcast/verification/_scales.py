"""Lengths on the ground in pixels."""

from collections.abc import Sequence

from nowcast.contracts import InputError
from nowcast.verification._sums import rising


def in_pixels(scales_km: Sequence[float], pixel_km: float) -> tuple[int, ...]:
    """Widths in km as numbers of pixels.

    Raises:
        InputError: for widths that do not rise, or are not whole numbers of pixels.
    """
    check_pixel(pixel_km)
    widths = []
    for scale in rising("scales in km", scales_km):
        width = round(scale / pixel_km)
        if width < 1 or abs(width * pixel_km - scale) > 1e-6 * scale:
            near = max(width, 1) * pixel_km
            raise InputError(f"{scale:g} km is not a whole number of pixels of {pixel_km:g} km; take {near:g} km")
        widths.append(width)
    return tuple(widths)


def check_pixel(pixel_km: float) -> None:
    """Raises InputError unless a pixel has a width."""
    if not 0 < pixel_km < float("inf"):
        raise InputError(f"a pixel must be wider than 0 km, not {pixel_km:g}")
