"""Products: each is the right functional of the forecast."""

import itertools

import pytest
import torch
from torch import nn

from nowcast.contracts import InputError
from nowcast.likelihoods import EDGES
from nowcast.models._output import MemberOutput, QuantileOutput
from nowcast.products import critical_probability, events, matched, product
from nowcast.scaling import unscale


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


def expected_f1(chance: torch.Tensor, chosen: torch.Tensor) -> float:
    """Of a set of events, from expected counts."""
    return float(2 * chance[chosen].sum() / (chosen.sum() + chance.sum()))


@pytest.mark.parametrize("seed", range(5))
def test_critical_events_are_the_best_of_all_sets_there_are(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(1, 2, 2, 5, generator=generator) ** torch.tensor([0.5, 2.0])[:, None, None]
    known = torch.ones(1, 1, 2, 5, dtype=torch.bool)
    critical = critical_probability(chance, known).flatten()
    for rate in range(2):
        pixels = chance[0, rate].flatten()
        sets = [torch.tensor(members) for members in itertools.product([False, True], repeat=10)]
        best = max(expected_f1(pixels, chosen) for chosen in sets)
        assert expected_f1(pixels, pixels >= critical[rate]) == pytest.approx(best)
        assert float(critical[rate]) == pytest.approx(best / 2)


def test_pixels_not_observed_do_not_move_the_critical_probability() -> None:
    torch.manual_seed(0)
    chance = torch.rand(2, 3, 5, 7)
    known = torch.rand(2, 1, 5, 7) > 0.3
    elsewhere = torch.where(known, chance, torch.rand(2, 3, 5, 7))
    expected = critical_probability(chance, known)
    torch.testing.assert_close(critical_probability(elsewhere, known), expected)
    torch.testing.assert_close(critical_probability(chance[1:], known[1:]), expected[1:])  # samples do not mix
    alone = critical_probability(chance[:1, :, None, known[0, 0]], torch.ones(1, 1, 1, int(known[0].sum())) > 0)
    torch.testing.assert_close(alone, expected[:1])


def test_where_less_than_one_event_is_expected_there_is_none() -> None:
    known = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    assert critical_probability(torch.full((1, 1, 5, 7), 1e-4), known) == 1
    assert critical_probability(torch.full((1, 1, 5, 7), 0.2), known) < 0.2
    assert critical_probability(torch.zeros(1, 1, 5, 7), ~known) == 1


def test_events_of_a_certain_forecast_are_those_of_the_truth() -> None:
    torch.manual_seed(3)
    truth = torch.rand(2, 3, 1, 15, 17) * 2.9 - 0.9
    rates = unscale(events(MemberOutput(), truth.expand(-1, -1, 4, -1, -1), truth[:, 0]))
    for rate in EDGES:
        assert torch.equal(rates >= rate, unscale(truth) >= rate)
    assert rates.max() == pytest.approx(50)
    assert rates[rates > 0].min() >= 0.1


def likely_rain() -> tuple[torch.Tensor, torch.Tensor]:
    """Quantiles of rain that is likely in the middle, (2, 3, 4, 15, 17), and a last frame with a hole."""
    torch.manual_seed(4)
    sky = nn.functional.avg_pool2d(torch.rand(6, 1, 19, 21), 5, 1).reshape(2, 3, 1, 15, 17)
    fields = 20 * (sky - 0.5) + torch.tensor([-0.5, 0.0, 0.3, 0.8])[:, None, None]
    last = torch.rand(2, 1, 15, 17)
    last[1, 0, :3] = torch.nan
    return fields, last


def test_events_of_each_rate_are_the_best_within_those_of_the_rate_below() -> None:
    (fields, last), output = likely_rain(), QuantileOutput([0.2, 0.5, 0.7, 0.9])
    rates = unscale(events(output, fields, last))
    chance = output.exceedance(fields, EDGES)
    before = torch.ones_like(rates, dtype=torch.bool)
    for number, rate in enumerate(EDGES):
        reached = rates >= rate * (1 - 1e-6)
        for step in range(3):
            of_rate = chance[:, step, number : number + 1]
            own = critical_probability(of_rate, ~last.isnan())
            assert torch.equal(reached[:, step], (of_rate >= own) & before[:, step])
        before = reached
    assert 0.1 < (rates >= 0.1).float().mean() < 0.9
    assert len(rates.unique()) > 300  # values between the rates, not steps


def test_events_move_no_further_than_their_probabilities() -> None:
    (fields, last), output = likely_rain(), QuantileOutput([0.2, 0.5, 0.7, 0.9])
    field, nudged = events(output, fields, last), events(output, fields + 1e-5, last)
    wet = (field > 0) & (nudged > 0)
    assert (field - nudged)[wet].abs().max() < 1e-2


def test_a_network_without_a_distribution_says_which_products_it_has(last: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"Identity makes one forecast .* no product 'events'; it has median, mean"):
        product("events", nn.Identity(), torch.rand(2, 3, 1, 5, 7), last)


def test_no_events_where_it_stays_dry(last: torch.Tensor) -> None:
    dry = torch.full((2, 3, 4, 5, 7), -0.5)
    assert (product("events", Ensemble(), dry, last) == 0).all()
