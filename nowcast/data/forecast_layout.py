"""What a forecast file holds: CF variables of one grid and one set of lead times, packed in 16 bits.

rain_rate(init_time, lead_time, y, x) is always there. Of forecasters that have them there are members, quantiles and
probabilities of reaching a threshold, named and described as in the Met Office's IMPROVER
(improver.readthedocs.io, "spp" conventions), each with an axis of its own between lead_time and y.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from nowcast.data.archive import PACK_NODATA, PACK_STEP, RATE_ATTRS, Grid, pack

TIME_ATTRS = {"units": "seconds since 1970-01-01", "calendar": "standard"}
PROBABILITY_STEP = 1e-4


@dataclass(frozen=True)
class Field:
    """A variable on (init_time, lead_time[, its axis], y, x).

    Args:
        name: of the variable.
        attrs: of the variable.
        step: what a unit of the packed values stands for.
        axis: coordinate variable of the axis between lead_time and y, or None.
    """

    name: str
    attrs: Mapping[str, Any]
    step: float = PACK_STEP
    axis: xr.DataArray | None = None

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of its dimensions."""
        between = () if self.axis is None else (str(self.axis.name),)
        return ("init_time", "lead_time", *between, "y", "x")

    def pack(self, values: np.ndarray) -> np.ndarray:
        """(T_out, …, H, W) with NaN as uint16; a lead time at a time, for a continent's copies would fill memory."""
        packed = np.empty(values.shape, dtype=np.uint16)
        for lead, one in enumerate(values):
            packed[lead] = pack(one if self.step == PACK_STEP else one * np.float32(PACK_STEP / self.step))
        return packed


RATE = Field("rain_rate", RATE_ATTRS)


def members(count: int) -> Field:
    """Members of an ensemble, equally likely."""
    attrs = {"standard_name": "realization", "units": "1"}
    return Field("rain_rate_ensemble", RATE_ATTRS, axis=_axis("realization", np.arange(count, dtype="i4"), attrs))


def quantiles(levels: Sequence[float]) -> Field:
    """Rates that are not exceeded with the probability of each level, from 0 to 1."""
    attrs = {"long_name": "probability that the rain rate does not exceed the quantile", "units": "1"}
    return Field("rain_rate_quantile", RATE_ATTRS, axis=_axis("quantile", np.asarray(levels, dtype="f8"), attrs))


def probabilities(thresholds: Sequence[float]) -> Field:
    """Probability, from 0 to 1, that the rate reaches each threshold in mm/h."""
    axis_attrs = {**RATE_ATTRS, "spp__relative_to_threshold": "greater_than_or_equal_to"}
    attrs = {"long_name": "probability that the rain rate reaches the threshold", "units": "1"}
    axis = _axis("threshold", np.asarray(thresholds, dtype="f8"), axis_attrs)
    return Field("probability_of_rain_rate_above_threshold", attrs, PROBABILITY_STEP, axis)


@dataclass(frozen=True)
class Layout:
    """All that forecasts of one file share.

    Args:
        grid: of every forecast.
        lead_times_s: seconds from the forecast reference time, of every forecast.
        attrs: global attributes; `source` names the model.
        fields: the variables.
    """

    grid: Grid
    lead_times_s: Sequence[int]
    attrs: Mapping[str, Any]
    fields: Sequence[Field] = (RATE,)

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of all dimensions but init_time."""
        axes = {str(field.axis.name): field.axis.size for field in self.fields if field.axis is not None}
        height, width = self.grid.shape
        return {"lead_time": len(self.lead_times_s), **axes, "y": height, "x": width}

    def shape(self, field: Field) -> tuple[int, ...]:
        """Of one forecast of a field."""
        return tuple(self.sizes[name] for name in field.dims[1:])

    def pack(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The fields of one forecast, by name, as they are written."""
        return {field.name: field.pack(values[field.name]) for field in self.fields}

    def attrs_of(self, field: Field) -> dict[str, Any]:
        """Attributes of a field as it is written."""
        attrs = {**field.attrs, "scale_factor": field.step, "coordinates": "time"}
        return attrs if self.grid.crs is None else {**attrs, "grid_mapping": str(self.grid.crs.name)}

    def coordinates(self, init_times: np.ndarray) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
        """Dimensions, values and attributes of every variable that is no field, by name."""
        seconds = init_times.astype("datetime64[s]").astype(np.int64)
        lead = np.asarray(self.lead_times_s, dtype=np.int32)
        lead_attrs = {"standard_name": "forecast_period", "units": "seconds"}
        valid = {"standard_name": "time", "long_name": "valid time", **TIME_ATTRS}
        found: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]] = {
            "init_time": (("init_time",), seconds, {"standard_name": "forecast_reference_time", **TIME_ATTRS}),
            "lead_time": (("lead_time",), lead, lead_attrs),
            "time": (("init_time", "lead_time"), seconds[:, None] + lead.astype(np.int64), valid),
        }
        for axis in [self.grid.y, self.grid.x, *(field.axis for field in self.fields if field.axis is not None)]:
            attrs = {key: value for key, value in axis.attrs.items() if key != "_FillValue"}
            found[str(axis.name)] = ((str(axis.name),), axis.values, attrs)
        if self.grid.crs is not None:
            found[str(self.grid.crs.name)] = ((), np.zeros((), dtype=np.int32), dict(self.grid.crs.attrs))
        return found

    @property
    def global_attrs(self) -> dict[str, Any]:
        """Attributes of the file."""
        return {"Conventions": "CF-1.11", "title": "precipitation nowcast", **self.attrs}


def _axis(name: str, values: np.ndarray, attrs: Mapping[str, Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=name, name=name, attrs=dict(attrs))


NODATA = np.uint16(PACK_NODATA)
