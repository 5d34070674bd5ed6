"""A forecaster among the methods of pysteps: by its signature, by name, and blended with a weather model."""

import numpy as np
import pytest

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.pysteps_method import pysteps_method
from tests.conftest import moving_rain

pysteps = pytest.importorskip("pysteps")


@pytest.fixture(scope="module")
def rate() -> np.ndarray:
    """Rain on 96 × 112 pixels that moves one pixel down and two to the right a frame."""
    return moving_rain(frames=12, height=96, width=112)["rain_rate"].values


def test_a_perfectly_carried_field_is_forecast_as_pysteps_extrapolates_it(rate: np.ndarray) -> None:
    ours = pysteps_method(baselines.create("lagrangian_persistence"))
    motion = np.stack([np.full(rate.shape[1:], 2.0), np.full(rate.shape[1:], 1.0)])
    theirs = pysteps.nowcasts.get_method("extrapolation")(np.nan_to_num(rate[5]), motion, 4)
    made = ours(rate[:6], None, 4)
    assert made.shape == theirs.shape
    inside = (slice(None), slice(40, 80), slice(40, 100))
    assert np.corrcoef(made[inside].ravel(), theirs[inside].ravel())[0, 1] > 0.97
    assert np.corrcoef(made[inside].ravel(), rate[6:10][inside].ravel())[0, 1] > 0.97


def test_pysteps_finds_it_by_name_and_blends_it_with_a_weather_model(rate: np.ndarray) -> None:
    pysteps_method(baselines.create("lagrangian_persistence"), register_as="ours")
    assert pysteps.nowcasts.get_method("ours")(rate[:6], None, 2).shape == (2, 96, 112)
    from pysteps.blending import linear_blending

    metadata = {"unit": "mm/h", "transform": None, "zerovalue": 0.0, "threshold": 0.1, "accutime": 5}
    model = np.full((4, 96, 112), 3.0)
    blended = linear_blending.forecast(
        np.nan_to_num(rate[:6]), metadata, np.zeros((2, 96, 112)), 4, 5, "ours",
        precip_nwp=model, precip_nwp_metadata=metadata, start_blending=10, end_blending=20,
    )  # fmt: skip
    ours = pysteps.nowcasts.get_method("ours")(np.nan_to_num(rate[:6]), None, 4)
    inside = (slice(40, 80), slice(40, 100))
    np.testing.assert_allclose(blended[1][inside], ours[1][inside])
    np.testing.assert_allclose(blended[2][inside], 0.5 * ours[2][inside] + 1.5)
    np.testing.assert_allclose(blended[3], 3.0)


def test_masked_pixels_were_not_observed_and_lists_name_time_steps(rate: np.ndarray) -> None:
    ours = pysteps_method(baselines.create("persistence"))
    masked = np.ma.masked_invalid(rate[:2])
    np.testing.assert_array_equal(np.isnan(ours(masked, None, [1, 3])), np.isnan(rate[[1, 1]]))


def test_members_come_first(rate: np.ndarray) -> None:
    ours = pysteps_method(baselines.create("steps"))
    made = ours(rate[:3], None, 2, n_ens_members=3)
    assert made.shape == (3, 2, 96, 112)
    assert np.nanmax(abs(made[0] - made[1])) > 0.1


@pytest.mark.parametrize(
    ("precip", "timesteps", "said"),
    [
        (np.zeros((2, 30, 40)), 2, "does not hold the 3 frames"),
        (np.zeros((30, 40)), 2, r"precip of shape \(30, 40\)"),
        (np.full((3, 30, 40), -15.0), 2, "give rain rates in mm/h, not dB"),
        (np.zeros((3, 30, 40)), [0.5, 1], "whole time steps"),
    ],
)
def test_what_cannot_be_forecast_is_told(precip: np.ndarray, timesteps: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        pysteps_method(baselines.create("lagrangian_persistence"))(precip, None, timesteps)
