"""The contract of every score: any batching, any order, any split, and lead times stay apart."""

import importlib.util
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError, Score
from nowcast.verification import (
    Bins,
    Contingency,
    Continuous,
    Crps,
    EventProbabilities,
    FractionsSkill,
    Members,
    PooledContingency,
    Quantiles,
    RankHistogram,
    Spectrum,
    SpreadSkill,
    StructuralSimilarity,
    by_forecast,
    standard_scores,
)
from tests.verification.kinds import KINDS, LEAD_TIMES, Kind, Pair, single


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "sal" and not importlib.util.find_spec("pysteps"):
        pytest.skip("SAL needs pysteps")
    return KINDS[request.param]


def scored(kind: Kind, *batches: Pair, **options: str) -> Score:
    score = kind.make(LEAD_TIMES, **options)
    for forecast, observed in batches:
        score.update(forecast, observed)
    return score


def pieces(pair: Pair, sizes: Sequence[int]) -> list[Pair]:
    return list(zip(*(field.split(sizes) for field in pair), strict=True))


def assert_same(kind: Kind, mine: xr.Dataset, other: xr.Dataset) -> None:
    if kind.exact:
        xr.testing.assert_identical(mine, other)
    else:
        xr.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)
        assert mine.attrs == other.attrs


def test_random_fields_have_scores(kind: Kind) -> None:
    """So that the other tests compare numbers, not NaN."""
    scores = scored(kind, kind.fields()).compute()
    for name, score in scores.data_vars.items():
        assert np.isfinite(score.values).any(), name


def test_batching_and_order_do_not_matter(kind: Kind) -> None:
    pair = kind.fields()
    singles = pieces(pair, [1] * len(pair[0]))
    assert_same(kind, scored(kind, *reversed(singles)).compute(), scored(kind, pair).compute())


def test_merged_halves_are_the_whole(kind: Kind) -> None:
    pair = kind.fields()
    first, second = (scored(kind, part) for part in pieces(pair, [2, len(pair[0]) - 2]))
    alone = second.compute()
    first.merge(second)
    assert_same(kind, first.compute(), scored(kind, pair).compute())
    xr.testing.assert_identical(second.compute(), alone)


def test_computing_does_not_end_or_change_the_sums(kind: Kind) -> None:
    pair = kind.fields()
    first, second = pieces(pair, [2, len(pair[0]) - 2])
    score = scored(kind, first)
    score.compute()
    score.update(*second)
    assert_same(kind, score.compute(), scored(kind, pair).compute())


def test_what_was_computed_does_not_change_later(kind: Kind) -> None:
    pair = kind.fields()
    score = scored(kind, pair)
    computed = score.compute()
    before = computed.copy(deep=True)
    score.update(*pair)
    xr.testing.assert_identical(computed, before)


def test_sums_of_64_bits_are_the_whole_state(kind: Kind) -> None:
    """A score that gets the sums of another is that score; so processes are merged, and cases resampled."""
    full, empty = scored(kind, kind.fields()), scored(kind)
    for name, array in empty.sums.items():
        assert array.dtype in (np.int64, np.float64)
        array[...] = full.sums[name]
    xr.testing.assert_identical(empty.compute(), full.compute())


def test_lead_times_do_not_mix(kind: Kind) -> None:
    forecast, observed = kind.fields()
    other = forecast.clone()
    axis = kind.lead_axis
    other.select(axis, 1).copy_(kind.fields(seed=1)[0].select(axis, 1))
    before, after = (scored(kind, (f, observed)).compute() for f in (forecast, other))
    assert before.lead_time.values.tolist() == [5, 10, 30]
    untouched = {"lead_time": [5, 30]}
    xr.testing.assert_identical(before.sel(untouched), after.sel(untouched))
    assert not before.sel(lead_time=10).equals(after.sel(lead_time=10))


@pytest.mark.parametrize("pixels", ["observed", "common"])
def test_what_is_forecast_where_nothing_was_observed_does_not_matter(kind: Kind, pixels: str) -> None:
    forecast, observed = kind.fields()
    unobserved = observed.isnan().unsqueeze(3 - kind.lead_axis) if forecast.ndim == 6 else observed.isnan()
    assert unobserved.any()
    anything = torch.where(unobserved, 0.75 if forecast.ndim == 6 else 99.0, forecast)
    before, after = (scored(kind, (f, observed), pixels=pixels).compute() for f in (forecast, anything))
    xr.testing.assert_identical(before, after)


def test_a_missing_forecast_counts_as_dry_or_as_nothing(kind: Kind) -> None:
    forecast, observed = kind.fields()
    filled = torch.where(forecast.isnan(), kind.dry, forecast)
    missing, dry = (scored(kind, (f, observed)).compute() for f in (forecast, filled))
    shares = [name for name in missing if str(name).endswith("missing_share")]
    xr.testing.assert_allclose(missing.drop_vars(shares), dry.drop_vars(shares), rtol=1e-7)  # float32 sums of bins
    for name in shares:
        assert (missing[name] > 0).all()
        assert (dry[name] == 0).all()
    # Pixels that only one field has are the same as pixels that none has.
    either = forecast.isnan().any(dim=3 - kind.lead_axis) if forecast.ndim == 6 else forecast.isnan()
    common = scored(kind, (forecast, observed), pixels="common").compute()
    hidden = scored(kind, (filled, torch.where(either, torch.nan, observed))).compute()
    xr.testing.assert_allclose(common.drop_vars(shares), hidden.drop_vars(shares), rtol=1e-7)


def test_inputs_are_left_as_they_were_and_may_need_gradients(kind: Kind) -> None:
    forecast, observed = kind.fields()
    given = forecast.clone().requires_grad_(), observed.clone()
    scored(kind, given)
    torch.testing.assert_close(given[0].detach(), forecast, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(given[1], observed, equal_nan=True, rtol=0, atol=0)


def test_channels_count_like_samples(kind: Kind) -> None:
    """The same rain as B samples of 2 channels or as 2 B samples of one."""
    pair = kind.fields()
    split = [field.movedim(-3, 1).flatten(0, 1).unsqueeze(-3) for field in pair]
    together, apart = scored(kind, pair).compute(), scored(kind, (split[0], split[1])).compute()
    names = sorted(set(together.data_vars) - {"cases"})
    assert_same(kind, together[names], apart[names])


@pytest.mark.parametrize(
    ("mine", "other", "what"),
    [
        (Continuous([5]), Continuous([10]), "lead times"),
        (Continuous([5]), Continuous([5], "common"), "pixels"),
        (Contingency([5]), Contingency([5], (1.0,)), "thresholds"),
        (Continuous([5]), Contingency([5]), "kind"),
        (standard_scores([5]), standard_scores([5], pixels="common"), "pixels"),
        (PooledContingency([5]), PooledContingency([5], pixel_km=2), "neighbourhoods"),
        (PooledContingency([5]), PooledContingency([5], (1.0,)), "thresholds"),
        (FractionsSkill([5]), FractionsSkill([5], scales=(1.0,)), "scales"),
        (FractionsSkill([5]), FractionsSkill([5], (1.0,)), "thresholds"),
        (Spectrum([5], (8, 9)), Spectrum([5], (9, 8)), "shape"),
        (Spectrum([5], (8, 9)), Spectrum([5], (8, 9), pixel_km=2), "pixel km"),
        (Spectrum([5], (8, 9)), Spectrum([5], (8, 9), tapered=False), "taper"),
        (StructuralSimilarity([5]), StructuralSimilarity([5], 70), "largest dBZ"),
        (Crps([5], Members()), Crps([5], Quantiles((0.5,))), "distribution"),
        (Crps([5], Bins((0.0, 1.0))), Crps([5], Bins((0.0, 2.0))), "distribution"),
        (EventProbabilities([5]), EventProbabilities([5], bins=5), "bins"),
        (EventProbabilities([5]), EventProbabilities([5], (1.0,)), "thresholds"),
        (RankHistogram([5], 3), RankHistogram([5], 4), "members"),
        (RankHistogram([5], 3), RankHistogram([5], 3, wet=1), "wet"),
        (SpreadSkill([5], 3), SpreadSkill([5], 4), "members"),
    ],
)
def test_scores_of_another_protocol_are_not_merged(mine: Score, other: Score, what: str) -> None:
    with pytest.raises(InputError, match=f"differ in {what}"):
        mine.merge(other)


def test_fields_of_another_shape_are_refused(kind: Kind) -> None:
    forecast, observed = kind.fields()
    shorter = forecast.narrow(kind.lead_axis, 0, 2), observed[:, :2]
    turned = forecast, observed.mT
    without_channels = forecast.select(-3, 0), observed.select(-3, 0)
    for wrong in (shorter, turned, without_channels):
        with pytest.raises(InputError, match="3 lead times"):
            kind.make(LEAD_TIMES).update(*wrong)


@pytest.mark.parametrize("lead_times", [(), (10, 5), (5, 5), (5, float("nan"))])
def test_lead_times_must_rise(kind: Kind, lead_times: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="lead times in minutes must be numbers that rise"):
        kind.make(lead_times)


def test_an_unknown_rule_of_pixels_is_refused(kind: Kind) -> None:
    with pytest.raises(InputError, match="'all' is none of observed, common"):
        kind.make(LEAD_TIMES, pixels="all")


def test_every_variable_says_its_units_and_name(kind: Kind) -> None:
    scores = scored(kind, kind.fields()).compute()
    for variable in scores.variables.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"] in {"min", "mm h-1", "mm2 h-2", "km", "dB", "1"}
    assert scores.attrs == {"pixels": "observed"}


def test_scores_count_their_cases_and_hold_all_variables() -> None:
    forecast, observed = single()
    kind = KINDS["standard"]
    scores = scored(kind, *pieces((forecast, observed), [4, 3])).compute()
    assert int(scores.cases) == 7
    for name in ("continuous", "contingency"):
        alone = scored(KINDS[name], (forecast, observed)).compute()
        xr.testing.assert_identical(scores[list(alone.data_vars)], alone)


def test_scores_stand_beside_each_other_by_forecast() -> None:
    computed = {name: scored(KINDS["standard"], single(seed)).compute() for seed, name in enumerate(["b", "a"])}
    beside = by_forecast(computed)
    assert beside.forecast.values.tolist() == ["b", "a"]
    for name, alone in computed.items():
        xr.testing.assert_equal(beside.sel(forecast=name).drop_vars("forecast"), alone)
