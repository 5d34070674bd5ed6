"""Archives that cannot be used, each in one way, and what must be said of them."""

from pathlib import Path

import xarray as xr

from nowcast.data.archive import write_archive
from tests.conftest import moving_rain

# What is given as input: which file the message must name, and what it must say is wrong.
BROKEN = {
    "missing.nc": ("missing.nc", "does not exist"),
    "*.hdf": ("*.hdf", "matches no file"),
    "text.nc": ("text.nc", "no readable NetCDF4"),
    "cut.nc": ("cut.nc", "no readable NetCDF4"),
    "empty.nc": ("empty.nc", "no radar variable"),
    "no_units.nc": ("no_units.nc", "no units attribute"),
    "flat.nc": ("flat.nc", "expected ('time', 'y', 'x')"),
    "kelvin.nc": ("kelvin.nc", "units 'K'"),
    "two.nc": ("two.nc", "several radar variables (first, second)"),
    "twice.nc": ("twice.nc", "two frames have the time 2020-06-01T12:15"),
    "whole*.nc": ("whole_other_grid.nc", "another grid (41×56 at 1000 m) than"),
}


def write_broken(rain: xr.Dataset, folder: Path) -> None:
    """Write every file of BROKEN that is to exist."""
    (folder / "text.nc").write_text("no radar here")
    write_archive(rain, folder / "whole.nc")
    (folder / "cut.nc").write_bytes((folder / "whole.nc").read_bytes()[:20_000])
    rain.drop_vars("rain_rate").to_netcdf(folder / "empty.nc")
    bare = rain.copy()
    bare["rain_rate"] = rain.rain_rate.assign_attrs(units="")
    del bare["rain_rate"].attrs["units"]
    bare.to_netcdf(folder / "no_units.nc")
    rain.isel(time=0, drop=True).to_netcdf(folder / "flat.nc")
    rain.assign(rain_rate=rain.rain_rate.assign_attrs(units="K")).to_netcdf(folder / "kelvin.nc")
    rain.assign(second=rain.rain_rate).rename(rain_rate="first").to_netcdf(folder / "two.nc")
    xr.concat([rain, rain.isel(time=[3])], "time", data_vars="minimal").to_netcdf(folder / "twice.nc")
    moving_rain(height=41, start="2021-01-01").to_netcdf(folder / "whole_other_grid.nc")
