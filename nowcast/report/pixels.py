"""Rain as pictures of a few colours, one pixel a pixel: small files, made in a moment, in the colours of `maps`."""

import numpy as np
from PIL import Image, ImageColor

from nowcast.report.maps import COLOURS, DRY, HEAVIEST, NODATA, RATES

PALETTE = (DRY, *COLOURS, HEAVIEST, NODATA)
MORE = ("#1c2127", "#ffffff")  # ink and paper, for what stands beside the rain
INK, PAPER = len(PALETTE), len(PALETTE) + 1


def indexed(rate: np.ndarray) -> Image.Image:
    """A field (y, x) in mm/h, NaN where nothing is known, as a picture with a palette."""
    place = np.where(np.isnan(rate), len(PALETTE) - 1, np.digitize(rate, RATES)).astype(np.uint8)
    return with_palette(Image.fromarray(place))


def with_palette(places: Image.Image) -> Image.Image:
    """A picture of places in the palette, given it."""
    image = places.convert("P")
    image.putpalette([part for colour in (*PALETTE, *MORE) for part in ImageColor.getrgb(colour)])
    return image
