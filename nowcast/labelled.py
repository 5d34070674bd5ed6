"""A forecaster between labelled arrays: xarray in, xarray out, with times, coordinates and projection."""

import numpy as np
import torch
import xarray as xr

from nowcast.contracts import Forecaster, InputError
from nowcast.data.archive import RATE_ATTRS
from nowcast.data.units import to_rate
from nowcast.tiling import tiled

TOLERANCE = 0.1  # of a step, by which times of frames may be off


def forecast_array(
    forecaster: Forecaster, frames: xr.DataArray, steps: int, step_s: float, tile: str = "auto", memory_gb: float = 3
) -> xr.DataArray:
    """The forecast from the last frames of an array.

    Args:
        forecaster: makes it.
        frames: (time, y, x) with `units` of rain rate, accumulation or reflectivity, NaN where not observed; at least
            as many frames as the forecaster needs.
        steps: lead times.
        step_s: seconds between lead times, and between the last frames.
        tile: auto, none, or the side of the tiles in pixels that a large field is cut into.
        memory_gb: that tiles of auto may take.

    Returns:
        (lead_time, y, x) mm/h on the coordinates of the frames, with the valid time of each, the time of the last
        frame as init_time, and the grid mapping if the frames have one.

    Raises:
        InputError: where dimensions, times or units are not such.
    """
    if frames.dims != ("time", "y", "x"):
        raise InputError(f"frames have dimensions (time, y, x), not {frames.dims}; transpose or rename them")
    frames = frames.sortby("time").isel(time=slice(-forecaster.past_frames, None))
    if frames.sizes["time"] < forecaster.past_frames:
        raise InputError(f"{forecaster.name} needs {forecaster.past_frames} frames, not {frames.sizes['time']}")
    times = frames["time"].values.astype("datetime64[ms]")
    apart = np.diff(times).astype(np.int64) / 1000
    if (np.abs(apart - step_s) > TOLERANCE * step_s).any():
        raise InputError(
            f"{forecaster.name} needs frames {step_s / 60:g} min apart, the last ones are of "
            f"{', '.join(map(str, times.astype('datetime64[s]')))}"
        )
    upright = frames.sortby("y", ascending=False).sortby("x")
    rate = to_rate(upright.values.astype(np.float32), frames.attrs.get("units"), step_s)
    past = torch.from_numpy(np.where(np.isfinite(rate), np.maximum(rate, 0), np.nan).astype(np.float32))
    forecaster = tiled(forecaster, tile, (past.shape[1], past.shape[2]), memory_gb)
    made = forecaster.forecast(past[None, :, None], steps)[0, :, 0].float().numpy()
    lead = np.round(step_s * np.arange(1, steps + 1)).astype("timedelta64[s]")
    return _labelled(made, upright, times[-1], lead, forecaster.name).reindex_like(frames.isel(time=0, drop=True))


def _labelled(
    made: np.ndarray, upright: xr.DataArray, start: np.datetime64, lead: np.ndarray, model: str
) -> xr.DataArray:
    valid = ("lead_time", (start + lead).astype("datetime64[ns]"), {"standard_name": "time"})
    mapping = upright.attrs.get("grid_mapping") or upright.encoding.get("grid_mapping")
    attrs = {**RATE_ATTRS, "model": model}
    coords = {
        "lead_time": ("lead_time", lead.astype("timedelta64[ns]"), {"standard_name": "forecast_period"}),
        "y": upright["y"],
        "x": upright["x"],
        "init_time": ((), start.astype("datetime64[ns]"), {"standard_name": "forecast_reference_time"}),
        "time": valid,
    }
    if mapping and mapping in upright.coords:
        coords[mapping] = upright[mapping]
        attrs["grid_mapping"] = mapping
    return xr.DataArray(made, dims=("lead_time", "y", "x"), coords=coords, name="rain_rate", attrs=attrs)
