"""Lagrangian persistence in torch: known motion, honest nodata, the skill of pysteps' extrapolation."""

from pathlib import Path

import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.contracts import InputError
from tests.conftest import moving_rain


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """(1, 9, 1, 120, 144) mm/h moving by (1, 2) pixels a frame; the upper left corner is not observed."""
    return torch.from_numpy(moving_rain(height=120, width=144, frames=9).rain_rate.values)[None, :, None]


def forecast(past: torch.Tensor, steps: int, **options: int) -> torch.Tensor:
    return baselines.create("lagrangian_persistence", **options).forecast(past, steps)


def test_pure_advection_is_nearly_perfect(frames: torch.Tensor) -> None:
    past, future = frames[:, :3], frames[:, 3:]
    inner = (..., slice(30, -20), slice(30, -20))
    error = (forecast(past, 6) - future)[inner].abs().nanmean(dim=(0, 2, 3, 4))
    persistence = (past[:, -1:] - future)[inner].abs().nanmean(dim=(0, 2, 3, 4))
    assert (error < 0.2 * persistence).all()


def test_nothing_is_said_of_air_from_outside_or_from_where_nothing_was_observed(frames: torch.Tensor) -> None:
    unknown = forecast(frames[:, :3], 6)[0, :, 0].isnan()
    for step in (1, 3, 6):
        assert unknown[step - 1, :, : 2 * step - 1].all()
        assert unknown[step - 1, : step - 1].all()
        row, column = torch.meshgrid(torch.arange(120), torch.arange(144), indexing="ij")
        came_from = row - step + column - 2 * step  # the corner is where row + column < 30
        inside = (row >= step + 1) & (column >= 2 * step + 1)
        assert unknown[step - 1][inside & (came_from < 28)].all()
        assert not unknown[step - 1][inside & (came_from > 32)].any()


def test_channels_each_have_their_own_motion(frames: torch.Tensor) -> None:
    both = torch.cat([frames, frames.flip(-1)], dim=2)[:, :3]
    expected = forecast(both[:, :, :1], 4), forecast(both[:, :, 1:], 4)
    torch.testing.assert_close(forecast(both, 4), torch.cat(expected, dim=2), equal_nan=True)


def test_past_frames_beyond_those_asked_for_are_not_seen(frames: torch.Tensor) -> None:
    expected = forecast(frames[:, 3:5], 2, frames=2)
    torch.testing.assert_close(forecast(frames[:, :5], 2, frames=2), expected, equal_nan=True)
    with pytest.raises(InputError, match="needs 3 past frames, it was given 2"):
        forecast(frames[:, :2], 2)
    with pytest.raises(InputError, match="at least 2 past frames, not 1"):
        forecast(frames, 2, frames=1)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_dry_and_unobserved_pasts_persist(value: float) -> None:
    expected = torch.full((1, 2, 1, 32, 48), value)
    torch.testing.assert_close(forecast(torch.full((1, 3, 1, 32, 48), value), 2), expected, equal_nan=True)


@pytest.mark.parametrize("event", ["mch_20160711", "fmi_20160928", "knmi_201008"])
def test_on_real_rain_it_is_as_good_as_the_extrapolation_of_pysteps(event: str, real_events: Path) -> None:
    with xr.open_dataset(real_events / f"{event}.nc") as archive:
        frames = torch.from_numpy(archive.rain_rate[10:25, 200:520, 200:520].values)[None, :, None]
    past, future = frames[:, :3], frames[:, 3:]
    ours, theirs = forecast(past, 12), baselines.create("extrapolation").forecast(past, 12)
    both = ~(ours.isnan() | theirs.isnan() | future.isnan())
    assert both.sum() > 0.5 * (~(theirs.isnan() | future.isnan())).sum()

    def error(made: torch.Tensor) -> torch.Tensor:
        return ((made - future).abs() * both).nansum(dim=(0, 2, 3, 4)) / both.sum(dim=(0, 2, 3, 4))

    assert (error(ours) < 1.05 * error(theirs)).all()
