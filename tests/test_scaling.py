"""Scaling: exact at dry, invertible above its floor, the only place that hides NaN."""

import numpy as np
import pytest
import torch

from nowcast.data.archive import pack, unpack
from nowcast.scaling import HIGHEST_RATE, dbz_to_rate, rate_to_dbz, scale, unscale


def test_known_points_of_marshall_palmer() -> None:
    assert rate_to_dbz(torch.tensor(1.0)).item() == pytest.approx(23.0103, abs=1e-4)
    assert rate_to_dbz(torch.tensor(100.0)).item() == pytest.approx(55.0103, abs=1e-4)
    assert dbz_to_rate(torch.tensor(30.0)).item() == pytest.approx(2.7344, abs=1e-3)


def test_rain_comes_back_and_what_is_under_the_floor_becomes_dry() -> None:
    rate = torch.tensor([0.0, 0.01, 0.05, 0.1, 1.0, 30.0, 400.0])
    scaled, known = scale(rate)
    torch.testing.assert_close(unscale(scaled)[2:], rate[2:], rtol=1e-4, atol=0)
    assert unscale(scaled)[:2].tolist() == [0.0, 0.0]
    assert scaled[0] == 0
    assert known.all()


def test_scaling_rises_with_rain() -> None:
    scaled, _ = scale(torch.linspace(0.05, 200, 500))
    assert (scaled.diff() > 0).all()


def test_unobserved_pixels_look_dry_and_are_said_to_be_unknown() -> None:
    scaled, known = scale(torch.tensor([float("nan"), 2.0]))
    assert scaled[0] == 0
    assert known.tolist() == [False, True]


def test_negative_output_of_a_network_is_dry() -> None:
    assert unscale(torch.tensor([-0.3, 0.0])).tolist() == [0.0, 0.0]


def test_no_output_of_a_network_is_more_rain_than_a_file_holds() -> None:
    """Ninety dBZ would be some ten thousand mm/h; a file would say something else than the forecast did."""
    rate = unscale(torch.tensor([3.1, 40.0, float("inf")]))
    assert (rate == HIGHEST_RATE).all()
    np.testing.assert_allclose(unpack(pack(np.array([1e4]))), HIGHEST_RATE, rtol=1e-6)
