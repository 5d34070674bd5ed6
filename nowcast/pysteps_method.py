"""A forecaster as a nowcasting method of pysteps, to be verified, plotted and blended with NWP there.

pysteps: Pulkkinen et al. 2019, doi 10.5194/gmd-12-4185-2019.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from nowcast.contracts import Forecaster, InputError
from nowcast.tiling import tiled


def pysteps_method(forecaster: Forecaster, register_as: str | None = None, tile: str = "auto") -> Callable:
    """A function with the arguments of pysteps' nowcasting methods.

    It takes precip, (T_in, H, W) mm/h with NaN where not observed, a velocity, which is not used, for the forecaster
    sees motion for itself, and timesteps: how many, or a list of whole ones. It gives (timesteps, H, W) mm/h, or with
    n_ens_members (members, timesteps, H, W).

    Args:
        forecaster: whose time step is that of the frames.
        register_as: a name under which pysteps' own functions, such as its blending, shall find it.
        tile: see `nowcast.tiling.tiled`.
    """

    def nowcast(
        precip: np.ndarray,
        velocity: np.ndarray | None,
        timesteps: int | Sequence[float],
        n_ens_members: int | None = None,
    ) -> np.ndarray:
        precip = np.ma.filled(np.ma.asarray(precip, dtype=np.float32), np.nan)
        if precip.ndim != 3 or len(precip) < forecaster.past_frames:
            raise InputError(
                f"precip of shape {precip.shape} does not hold the {forecaster.past_frames} frames (time, y, x) that "
                f"{forecaster.name} needs"
            )
        if precip.size and np.nanmin(precip, initial=0) < 0:
            raise InputError("precip has negative values; give rain rates in mm/h, not dB")
        whole = range(1, timesteps + 1) if isinstance(timesteps, int) else [round(step) for step in timesteps]
        if not isinstance(timesteps, int) and not np.allclose(whole, timesteps):
            raise InputError(f"{forecaster.name} forecasts whole time steps, not {list(timesteps)}")
        past = torch.from_numpy(np.ascontiguousarray(precip[-forecaster.past_frames :]))[None, :, None]
        method = tiled(forecaster, tile, (precip.shape[1], precip.shape[2]), 3)
        if n_ens_members is None:
            made = method.forecast(past, max(whole))[0, :, 0]
        else:
            made = method.ensemble(past, max(whole), n_ens_members)[0, :, :, 0]
        return made[..., [step - 1 for step in whole], :, :].float().numpy().astype(np.float64)

    if register_as is not None:
        _register(register_as, nowcast)
    return nowcast


def _register(name: str, method: Callable) -> None:
    try:
        from pysteps.nowcasts import interface
    except ImportError as error:
        raise InputError("to register a method pysteps must be installed: pip install 'nowcast[baselines]'") from error
    interface._nowcast_methods[name] = method
