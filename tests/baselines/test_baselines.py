"""Baselines: persistence repeats, extrapolation follows a known motion, nodata and dry frames are no trouble."""

import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.contracts import InputError
from tests.conftest import moving_rain


def window(rain: xr.Dataset, past: int = 3, future: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.from_numpy(rain.rain_rate.values[: past + future])[None, :, None]
    return frames[:, :past], frames[:, past:]


@pytest.fixture(scope="module")
def moving() -> xr.Dataset:
    return moving_rain(height=120, width=144, down=1, right=2, frames=12)


@pytest.mark.parametrize("name", baselines.names())
def test_a_baseline_keeps_shape_and_samples_apart(name: str) -> None:
    past, _ = window(moving_rain(height=60, width=72, frames=6), past=4, future=2)
    other = past.flip(-1)
    forecaster = baselines.create(name, **{"linda": {"features": 1}}.get(name, {}))
    both = forecaster.forecast(torch.cat([past, other]), 2)
    assert both.shape == (2, 2, 1, 60, 72)
    torch.testing.assert_close(both[:1], forecaster.forecast(past, 2), equal_nan=True)
    torch.testing.assert_close(both[1:], forecaster.forecast(other, 2), equal_nan=True)


def test_persistence_repeats_the_last_frame_and_its_nodata(moving: xr.Dataset) -> None:
    past, _ = window(moving)
    forecast = baselines.create("persistence").forecast(past, 3)
    torch.testing.assert_close(forecast, past[:, -1:].expand_as(forecast), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("flow", "frames", "error"), [("lucaskanade", 3, 0.05), ("vet", 2, 0.05), ("vet", 5, 0.05), ("darts", 9, 0.2)]
)
def test_extrapolation_finds_a_known_motion(flow: str, frames: int, error: float, moving: xr.Dataset) -> None:
    motion = baselines.create("extrapolation", flow=flow, frames=frames).motion(moving.rain_rate.values[:frames])
    inner = motion[:, 20:-20, 20:-20]
    assert inner[0].mean() == pytest.approx(2, abs=2 * error)  # to the right
    assert inner[1].mean() == pytest.approx(1, abs=error)  # down


def test_extrapolation_of_pure_advection_is_nearly_perfect_and_persistence_is_not(moving: xr.Dataset) -> None:
    past, future = window(moving)
    errors = {}
    for name in ("extrapolation", "persistence"):
        forecast = baselines.create(name).forecast(past, 6)
        errors[name] = (forecast - future)[..., 30:-20, 30:-20].abs().nanmean(dim=(0, 2, 3, 4))
    assert (errors["extrapolation"] < 0.25 * errors["persistence"]).all()
    assert errors["persistence"][-1] > errors["persistence"][0]


def test_extrapolation_says_nothing_where_rain_comes_from_outside(moving: xr.Dataset) -> None:
    past, _ = window(moving)
    forecast = baselines.create("extrapolation").forecast(past, 6)[0, -1, 0]
    assert torch.isnan(forecast[:, :8]).all()  # six steps of two pixels from the left
    assert not torch.isnan(forecast[40:, 20:]).any()


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_dry_and_unobserved_pasts_persist(value: float) -> None:
    forecast = baselines.create("extrapolation").forecast(torch.full((1, 3, 1, 32, 48), value), 2)
    expected = torch.full((1, 2, 1, 32, 48), value)
    torch.testing.assert_close(forecast, expected, equal_nan=True)


def test_extrapolation_leaves_its_input_alone(moving: xr.Dataset) -> None:
    past, _ = window(moving)
    before = past.clone()
    baselines.create("extrapolation").forecast(past, 2)
    torch.testing.assert_close(past, before, equal_nan=True, rtol=0, atol=0)


def test_too_few_frames_and_wrong_names_are_said(moving: xr.Dataset) -> None:
    past, _ = window(moving)
    with pytest.raises(InputError, match="needs 3 past frames, it was given 2"):
        baselines.create("extrapolation").forecast(past[:, :2], 2)
    with pytest.raises(InputError, match="darts needs at least 6 past frames, not 3"):
        baselines.create("sprog", flow="darts")
    with pytest.raises(InputError, match="there are lucaskanade, vet, darts"):
        baselines.create("steps", flow="lukaskanade")
    with pytest.raises(InputError, match="did you mean persistence"):
        baselines.create("persistance")
    with pytest.raises(InputError, match="has no ensemble"):
        baselines.create("persistence").ensemble(past, 2, 4)
    with pytest.raises(InputError, match="has no probabilities"):
        baselines.create("persistence").probability(past, 2, [1.0])
