"""The contract of every score: any batching, any order, any split, and lead times stay apart."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError, Score
from nowcast.verification import Contingency, Continuous, by_forecast, standard_scores

LEAD_TIMES = (5, 10, 30)
KINDS: dict[str, Callable[..., Score]] = {
    "contingency": Contingency,
    "continuous": Continuous,
    "standard": standard_scores,
}


def fields(seed: int = 0, samples: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Forecasts and observations with NaN, in 64ths of mm/h, whose 64-bit sums are exact in any order."""
    random = np.random.default_rng(seed)
    shape = (samples, len(LEAD_TIMES), 2, 5, 6)
    pair = []
    for _ in range(2):
        rate = np.round(random.gamma(0.4, 5, shape) * 64) / 64
        rate[random.random(shape) < 0.15] = np.nan
        pair.append(torch.from_numpy(rate.astype(np.float32)))
    return pair[0], pair[1]


def scored(make: Callable[..., Score], *batches: tuple[torch.Tensor, torch.Tensor]) -> Score:
    score = make(LEAD_TIMES)
    for forecast, observed in batches:
        score.update(forecast, observed)
    return score


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., Score]:
    return KINDS[request.param]


def test_batching_and_order_do_not_matter(make: Callable[..., Score]) -> None:
    forecast, observed = fields()
    whole = scored(make, (forecast, observed)).compute()
    singles = [(forecast[i : i + 1], observed[i : i + 1]) for i in reversed(range(len(forecast)))]
    xr.testing.assert_identical(scored(make, *singles).compute(), whole)


def test_merged_halves_are_the_whole(make: Callable[..., Score]) -> None:
    forecast, observed = fields()
    first = scored(make, (forecast[:3], observed[:3]))
    second = scored(make, (forecast[3:], observed[3:]))
    alone = second.compute()
    first.merge(second)
    xr.testing.assert_identical(first.compute(), scored(make, (forecast, observed)).compute())
    xr.testing.assert_identical(second.compute(), alone)


def test_computing_does_not_end_or_change_the_sums(make: Callable[..., Score]) -> None:
    forecast, observed = fields()
    score = scored(make, (forecast[:3], observed[:3]))
    score.compute()
    score.update(forecast[3:], observed[3:])
    xr.testing.assert_identical(score.compute(), scored(make, (forecast, observed)).compute())


def test_lead_times_do_not_mix(make: Callable[..., Score]) -> None:
    forecast, observed = fields()
    other = forecast.clone()
    other[:, 1] = fields(seed=1)[0][:, 1]
    before, after = (scored(make, (f, observed)).compute() for f in (forecast, other))
    assert before.lead_time.values.tolist() == [5, 10, 30]
    untouched = {"lead_time": [5, 30]}
    xr.testing.assert_identical(before.sel(untouched), after.sel(untouched))
    assert not before.sel(lead_time=10).equals(after.sel(lead_time=10))


def test_inputs_are_left_as_they_were_and_may_need_gradients(make: Callable[..., Score]) -> None:
    forecast, observed = fields()
    given = forecast.clone().requires_grad_(), observed.clone()
    scored(make, given)
    torch.testing.assert_close(given[0].detach(), forecast, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(given[1], observed, equal_nan=True, rtol=0, atol=0)


def test_channels_count_like_samples(make: Callable[..., Score]) -> None:
    """The same rain as 7 samples of 2 channels or as 14 samples of one."""
    pair = fields()
    split = [rate.permute(0, 2, 1, 3, 4).reshape(14, 3, 1, 5, 6) for rate in pair]
    together, apart = scored(make, pair).compute(), scored(make, (split[0], split[1])).compute()
    for name in set(together.data_vars) - {"cases"}:
        xr.testing.assert_identical(together[name], apart[name])


@pytest.mark.parametrize(
    ("mine", "other", "what"),
    [
        (Continuous([5]), Continuous([10]), "lead times"),
        (Continuous([5]), Continuous([5], "common"), "pixels"),
        (Contingency([5]), Contingency([5], (1.0,)), "thresholds"),
        (Continuous([5]), Contingency([5]), "kind"),
        (standard_scores([5]), standard_scores([5], pixels="common"), "pixels"),
    ],
)
def test_scores_of_another_protocol_are_not_merged(mine: Score, other: Score, what: str) -> None:
    with pytest.raises(InputError, match=f"differ in {what}"):
        mine.merge(other)


@pytest.mark.parametrize(
    ("forecast", "observed"),
    [((2, 2, 1, 4, 5), (2, 2, 1, 4, 5)), ((2, 3, 1, 4, 5), (2, 3, 1, 5, 4)), ((2, 3, 4, 5), (2, 3, 4, 5))],
)
def test_fields_of_another_shape_are_refused(
    make: Callable[..., Score], forecast: tuple[int, ...], observed: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="3 lead times"):
        make(LEAD_TIMES).update(torch.zeros(forecast), torch.zeros(observed))


@pytest.mark.parametrize("lead_times", [(), (10, 5), (5, 5), (5, float("nan"))])
def test_lead_times_must_rise(make: Callable[..., Score], lead_times: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="lead times in minutes must be numbers that rise"):
        make(lead_times)


def test_an_unknown_rule_of_pixels_is_refused(make: Callable[..., Score]) -> None:
    with pytest.raises(InputError, match="'all' is none of observed, common"):
        make(LEAD_TIMES, pixels="all")


def test_every_variable_says_its_units_and_name(make: Callable[..., Score]) -> None:
    scores = scored(make, fields()).compute()
    for variable in scores.variables.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"] in {"min", "mm h-1", "1"}
    assert scores.attrs == {"pixels": "observed"}


def test_scores_count_their_cases_and_hold_all_variables() -> None:
    forecast, observed = fields()
    scores = scored(standard_scores, (forecast[:4], observed[:4]), (forecast[4:], observed[4:])).compute()
    assert int(scores.cases) == 7
    for kind in (Continuous, Contingency):
        alone = scored(kind, (forecast, observed)).compute()
        xr.testing.assert_identical(scores[list(alone.data_vars)], alone)


def test_scores_stand_beside_each_other_by_forecast() -> None:
    computed = {name: scored(standard_scores, fields(seed)).compute() for seed, name in enumerate(["b", "a"])}
    beside = by_forecast(computed)
    assert beside.forecast.values.tolist() == ["b", "a"]
    for name, alone in computed.items():
        xr.testing.assert_equal(beside.sel(forecast=name).drop_vars("forecast"), alone)
