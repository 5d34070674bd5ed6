"""An archive as one labelled array whose frames are read when they are needed."""

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed

from nowcast.data.archive import RATE_ATTRS, Archive


def lazy_frames(archive: Archive) -> xr.DataArray:
    """(time, y, x) mm/h, NaN where not observed, north up, a chunk a frame, with the projection if there is one."""
    read = delayed(archive.read)
    frames = [da.from_delayed(read(index), archive.grid.shape, dtype=np.float32) for index in range(len(archive))]
    coords = {"time": archive.times.astype("datetime64[ns]"), "y": archive.grid.y, "x": archive.grid.x}
    attrs = dict(RATE_ATTRS)
    if archive.grid.crs is not None:
        coords[str(archive.grid.crs.name)] = archive.grid.crs
        attrs["grid_mapping"] = str(archive.grid.crs.name)
    return xr.DataArray(da.stack(frames), dims=("time", "y", "x"), coords=coords, name="rain_rate", attrs=attrs)
