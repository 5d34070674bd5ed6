"""S-PROG, ANVIL, LINDA and STEPS: skill on known motion and real rain, dry and unobserved pasts, ensembles by seed."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.baselines import _continue
from nowcast.contracts import Forecaster
from tests.conftest import moving_rain

OPTIONS: dict[str, dict] = {"anvil": {}, "linda": {"features": 2}, "sprog": {}, "steps": {"members": 8}}
ENSEMBLES = ["linda", "steps"]
STEPS = 3
INNER = (..., slice(16, -12), slice(20, -12))


def create(name: str, **options: object) -> Forecaster:
    return baselines.create(name, **(OPTIONS[name] | options))


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """(1, 9, 1, 72, 96) mm/h: six past frames, three future ones; the upper left corner is not observed."""
    return torch.from_numpy(moving_rain(height=72, width=96, frames=9).rain_rate.values)[None, :, None]


@pytest.fixture(scope="module")
def past(frames: torch.Tensor) -> torch.Tensor:
    return frames[:, :6]


@pytest.fixture(scope="module")
def forecasts(past: torch.Tensor) -> dict[str, torch.Tensor]:
    names = [*OPTIONS, "persistence", "extrapolation"]
    return {name: baselines.create(name, **OPTIONS.get(name, {})).forecast(past, STEPS) for name in names}


@pytest.fixture(scope="module")
def ensembles(past: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: create(name).ensemble(past, STEPS, 4) for name in ENSEMBLES}


def error(forecast: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Mean absolute error by lead time."""
    return (forecast - observed).abs()[INNER].nanmean(dim=(0, 2, 3, 4))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_baseline_beats_persistence_on_moving_rain(name, frames, forecasts) -> None:
    future = frames[:, 6:]
    assert (error(forecasts[name], future) < 0.7 * error(forecasts["persistence"], future)).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_model_is_more_than_extrapolation(name, forecasts) -> None:
    difference = (forecasts[name] - forecasts["extrapolation"])[INNER].abs().nanmean(dim=(0, 2, 3, 4))
    assert (difference > 1e-3).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_baseline_and_member_answers_for_the_pixels_of_extrapolation(name, forecasts, ensembles) -> None:
    unknown = torch.isnan(forecasts["extrapolation"])
    assert unknown[:, :, :, :8, :8].all()  # the unobserved corner, and what comes out of it
    assert not unknown[INNER].any()
    assert (torch.isnan(forecasts[name]) == unknown).all()
    for member in ensembles.get(name, torch.empty(1, 0)).unbind(1):
        assert (torch.isnan(member) == unknown).all()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", [0.0, torch.nan, 0.05], ids=["dry", "unobserved", "drizzle"])
def test_dry_and_unobserved_pasts_persist(name: str, value: float) -> None:
    past = torch.full((1, 4, 1, 32, 48), value)
    expected = torch.full((1, 2, 1, 32, 48), value)
    torch.testing.assert_close(create(name).forecast(past, 2), expected, equal_nan=True)
    if name in ENSEMBLES:
        ensemble = create(name).ensemble(past, 2, 3)
        torch.testing.assert_close(ensemble, expected[:, None].expand(-1, 3, -1, -1, -1, -1), equal_nan=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_half_dry_and_half_unobserved_stay_so(name: str) -> None:
    past = torch.zeros(1, 4, 1, 32, 48)
    past[..., :24] = torch.nan
    forecast = create(name).forecast(past, 2)
    assert torch.isnan(forecast[..., :24]).all()
    assert (forecast[..., 25:] == 0).all()


def still(past: torch.Tensor) -> torch.Tensor:
    return past[:, -1:].nan_to_num(0).expand(-1, 4, -1, -1, -1)


def new(past: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(past[:, :3]), past[:, -1:].nan_to_num(0)], dim=1)


def speck(past: torch.Tensor) -> torch.Tensor:
    field = torch.zeros_like(past[:, :4])
    field[..., 30, 40] = 5.0
    return field


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("trouble", [still, new, speck])
def test_rain_that_teaches_a_model_nothing_is_carried_along(name: str, trouble, past) -> None:
    given = trouble(past)
    forecast = create(name).forecast(given, 2)
    torch.testing.assert_close(forecast, given[:, -1:].expand_as(forecast), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_same_seed_makes_the_same_ensemble_and_another_another(name: str, past, ensembles) -> None:
    seeded = create(name).ensemble(past, STEPS, 4)
    torch.testing.assert_close(seeded, ensembles[name], rtol=0, atol=0, equal_nan=True)
    other = create(name, seed=1).ensemble(past, 1, 2)
    assert (other - seeded[:, :2, :1])[INNER].abs().mean() > 0.1


@pytest.mark.parametrize("name", ENSEMBLES)
def test_members_differ_more_and_more(name: str, ensembles) -> None:
    spread = ensembles[name].std(dim=1)[INNER].mean(dim=(0, 2, 3, 4))  # by lead time
    assert spread[0] > 0.1
    assert (spread.diff() > 0).all()


@pytest.mark.parametrize(("name", "deterministic"), [("linda", "linda"), ("steps", "sprog")])
def test_noise_averages_out_towards_the_deterministic_forecast(name, deterministic, forecasts, ensembles) -> None:
    departures = (ensembles[name] - forecasts[deterministic][:, None])[INNER]
    of_members, of_their_mean = departures.square().mean(), departures.mean(dim=1).square().mean()
    assert of_their_mean < 0.5 * of_members  # 1/4 if the four were independent and without bias


def test_the_forecast_of_steps_is_its_ensemble_mean(past, forecasts) -> None:
    mean = create("steps").ensemble(past, STEPS, 8).mean(dim=1)
    torch.testing.assert_close(forecasts["steps"], mean, equal_nan=True)


def test_probabilities_are_shares_of_members(past) -> None:
    steps = create("steps")
    ensemble, shares = steps.ensemble(past, 2, 8), steps.probability(past, 2, [0.1, 5.0])
    assert shares.shape == (1, 2, 2, 1, 72, 96)
    for k, threshold in enumerate([0.1, 5.0]):
        reached = (ensemble >= threshold).sum(dim=1) / 8
        known = ~torch.isnan(ensemble[:, 0])
        torch.testing.assert_close(shares[:, :, k][known], reached[known])
        assert torch.isnan(shares[:, :, k][~known]).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_forecast_is_quiet_and_leaves_the_worlds_random_numbers_alone(name: str, past) -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        create(name, **({"features": 1} if name == "linda" else {})).forecast(past, 1)
    assert printed.getvalue() == ""
    assert np.random.rand() == expected  # noqa: NPY002


def test_a_failure_that_is_not_for_lack_of_rain_is_not_hidden(past) -> None:
    def broken(*arguments: object) -> None:
        raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        _continue.evolved(past[0, :, 0].numpy(), np.zeros((2, 72, 96)), 1, broken)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_baseline_beats_persistence_at_30_minutes_on_real_events(name: str, real_events: Path) -> None:
    with xr.open_dataset(real_events / "mch_20160711.nc") as event:
        rate = event.rain_rate[10:20, 200:360, 260:440].values
    frames = torch.from_numpy(rate)[None, :, None]
    forecaster = create(name)
    forecast = forecaster.forecast(frames[:, :4], 6)[:, -1]
    observed, persistence = frames[:, 9], frames[:, 3]
    compared = ~(torch.isnan(forecast) | torch.isnan(observed) | torch.isnan(persistence))
    assert compared.float().mean() > 0.4
    errors = [(field - observed)[compared].abs().mean() for field in (forecast, persistence)]
    assert errors[0] < 0.9 * errors[1]
