"""Products: each is the right functional of the forecast."""

import pytest
import torch
from torch import nn

from nowcast.models._output import MemberOutput
from nowcast.products import matched, product


class Ensemble(nn.Module):
    output = MemberOutput()


@pytest.fixture
def last() -> torch.Tensor:
    torch.manual_seed(0)
    last = torch.rand(2, 1, 5, 7)
    last[:, :, :2] = 0
    last[0, 0, 4] = torch.nan
    return last


def test_matched_values_are_those_of_the_last_frame_in_the_order_of_the_forecast(last: torch.Tensor) -> None:
    forecast = torch.rand(2, 3, 1, 5, 7) * 0.1 + 0.01
    result = matched(forecast, last)
    for sample in range(2):
        known = ~last[sample, 0].isnan()
        for step in range(3):
            got, asked = result[sample, step, 0][known], forecast[sample, step, 0][known]
            assert torch.equal(got.sort().values, last[sample, 0][known].sort().values)
            assert (got[asked.argsort()].diff() >= 0).all()


def test_matching_a_frame_with_itself_changes_nothing(last: torch.Tensor) -> None:
    known = torch.nan_to_num(last)[:, None]
    torch.testing.assert_close(matched(known, torch.nan_to_num(last)), known)


def test_matched_has_no_rain_where_the_forecast_has_none(last: torch.Tensor) -> None:
    forecast = torch.rand(2, 3, 1, 5, 7) - 0.9
    result = matched(forecast, last)
    assert (result[forecast <= 0] <= 0).all()
    assert result.max() > forecast.max()


def test_what_was_not_observed_and_other_samples_are_left_alone(last: torch.Tensor) -> None:
    forecast = torch.rand(2, 3, 1, 5, 7)
    result = matched(forecast, last)
    assert torch.equal(result[0, :, 0, 4], forecast[0, :, 0, 4])
    assert torch.equal(matched(forecast[1:], last[1:]), result[1:])


def test_a_single_forecast_is_its_own_median_and_mean(last: torch.Tensor) -> None:
    forecast = torch.rand(2, 3, 1, 5, 7)
    for kind in ("median", "mean"):
        assert torch.equal(product(kind, nn.Identity(), forecast, last), forecast)


def test_of_an_ensemble_each_product_is_its_functional(last: torch.Tensor) -> None:
    members = torch.tensor([0.0, 0.0, 1.5]).reshape(1, 1, 3, 1, 1).expand(2, 2, 3, 5, 7)
    assert (product("median", Ensemble(), members, last) == 0).all()
    assert (product("mean", Ensemble(), members, last) > 1).all()  # a third of 36 mm/h
    members = torch.rand(2, 2, 3, 5, 7)
    ranks = members.mean(dim=2, keepdim=True)
    torch.testing.assert_close(product("matched", Ensemble(), members, last), matched(ranks, last))
