"""Frames of the showcased cases as pictures that a page can hold: PNG of a few colours, as text."""

import base64
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nowcast.report.maps import COLOURS, DRY, HEAVIEST, NODATA, RATES
from nowcast.report.pixels import indexed

MOST_PIXELS = 400  # a side; larger frames are averaged over blocks of pixels
MOST_FORECASTS = 14  # a case, to keep the page small


def case(path: Path, wanted: Collection[str]) -> dict[str, Any]:
    """A case of the showcase: PNGs of past and observed frames and of the forecasts of entries.

    Args:
        path: a file with rain_rate(entry, lead_time, y, x), observed(lead_time, y, x) and past(past_time, y, x).
        wanted: entries that come first where there are too many.
    """
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        rates = dataset.load().sortby("y", ascending=False)
    size = rates.sizes["y"], rates.sizes["x"]
    blocks = -(-max(size) // MOST_PIXELS)
    if blocks > 1:
        rates = rates.coarsen(y=blocks, x=blocks, boundary="pad").mean()
    names = [str(name) for name in rates.entry.values]
    names.sort(key=lambda name: name not in wanted)
    leads = rates.lead_time.values.astype(float).tolist()
    step = leads[1] - leads[0] if len(leads) > 1 else leads[0]
    past = [-step * k for k in reversed(range(rates.sizes["past_time"]))]
    start = np.datetime64(str(rates.attrs["init_time"]), "s")
    return {
        "title": f"{rates.attrs.get('event', path.stem)}, {_clock(start)} UTC",
        "minutes": past + leads,
        "clocks": [_clock(start + np.timedelta64(round(60 * minutes), "s"))[-5:] for minutes in past + leads],
        "past": pictures(rates.past.values),
        "observed": pictures(rates.observed.values),
        "forecasts": [
            {"name": name, "frames": pictures(rates.rain_rate.sel(entry=name).values)}
            for name in names[:MOST_FORECASTS]
        ],
        "left_out": len(names[MOST_FORECASTS:]),
        "averaged": blocks,
        "height": rates.sizes["y"],
        "width": rates.sizes["x"],
    }


def pictures(rates: np.ndarray) -> list[str]:
    """Fields (frame, y, x) in mm/h as PNG in base64."""
    return [picture(rate) for rate in rates]


def picture(rate: np.ndarray) -> str:
    """A field (y, x) in mm/h, NaN where nothing is known, in the colours of `nowcast.report.maps`."""
    file = io.BytesIO()
    indexed(rate).save(file, format="png", optimize=True, bits=4)
    return base64.b64encode(file.getvalue()).decode("ascii")


def legend() -> dict[str, Any]:
    """The colours and the rates between them."""
    return {"colours": [DRY, *COLOURS, HEAVIEST], "rates": list(RATES), "nodata": NODATA}


def _clock(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ")
