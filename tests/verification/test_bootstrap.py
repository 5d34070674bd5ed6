"""Intervals: a twin by hand, their coverage, and what a difference between two models may claim."""

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification import (
    Blocks,
    Contingency,
    Continuous,
    Spectrum,
    difference,
    interval,
    standard_scores,
)

EVENTS = 12


def rain(seed: int = 0, cases: int = 40) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Forecast, observed and events of cases; errors of an event resemble each other."""
    random = np.random.default_rng(seed)
    labels = [f"event {place % EVENTS}" for place in range(cases)]
    observed = random.gamma(0.5, 4, (cases, 2, 1, 6, 7))
    level = random.normal(0, 1, EVENTS)[np.arange(cases) % EVENTS]
    forecast = np.clip(observed + level[:, None, None, None, None] + random.normal(0, 1, observed.shape), 0, None)
    return torch.from_numpy(forecast), torch.from_numpy(observed), labels


def scored(make, *batches) -> Blocks:
    blocks = Blocks(make)
    for forecast, observed, labels in batches:
        blocks.update(forecast, observed, labels)
    return blocks


def continuous() -> Continuous:
    return Continuous([5, 10])


def test_the_interval_is_that_of_sums_resampled_by_hand() -> None:
    forecast, observed, labels = rain()
    skill = interval(scored(continuous, (forecast, observed, labels)), level=0.9, resamples=199, seed=4)
    names = sorted(set(labels))
    error = (forecast - observed).abs().sum((2, 3, 4)).numpy()
    sums = np.stack([error[np.array(labels) == name].sum(axis=0) for name in names])
    pixels = np.array([42 * labels.count(name) for name in names])
    random = np.random.default_rng(4)
    drawn = [random.multinomial(EVENTS, np.full(EVENTS, 1 / EVENTS)) for _ in range(199)]
    samples = np.sort([count @ sums / (count @ pixels) for count in drawn], axis=0)
    # The least sample with 5 % and 95 % of 199 at or below it.
    np.testing.assert_allclose(skill.mae.sel(bound="lower"), samples[9])
    np.testing.assert_allclose(skill.mae.sel(bound="upper"), samples[189])
    alone = continuous()
    alone.update(forecast, observed)
    np.testing.assert_allclose(skill.mae.sel(bound="score"), alone.compute().mae)
    assert skill.attrs["interval_level"] == 0.9


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Errors of 25 events are normal around 5; 150 experiments at a level of 90 %, which have a deviation of 2.5 %."""
    random = np.random.default_rng(5)
    inside = 0
    for experiment in range(150):
        error = torch.from_numpy(random.normal(5, 1, (25, 1, 1, 1, 1)))
        blocks = scored(lambda: Continuous([5]), (error, torch.zeros_like(error), list(range(25))))
        skill = interval(blocks, level=0.9, resamples=199, seed=experiment).mae.squeeze()
        inside += bool(skill.sel(bound="lower") <= 5 <= skill.sel(bound="upper"))
    assert inside / 150 == pytest.approx(0.88, abs=0.06)  # percentiles of few blocks are a little narrow


def test_cases_of_one_event_are_no_independent_evidence() -> None:
    """Twenty copies of each case narrow the interval by nothing if they are one block, and falsely if they are not."""
    forecast, observed, labels = rain(cases=EVENTS)
    many = [field.repeat_interleave(20, dim=0) for field in (forecast, observed)]
    width = {}
    for name, batch in {
        "once": (forecast, observed, labels),
        "by event": (*many, np.repeat(labels, 20).tolist()),
        "by case": (*many, list(range(20 * EVENTS))),
    }.items():
        skill = interval(scored(continuous, batch)).mae
        width[name] = (skill.sel(bound="upper") - skill.sel(bound="lower")).mean().item()
    assert width["by event"] == pytest.approx(width["once"])
    assert width["by case"] < 0.5 * width["once"]


def test_batches_their_order_and_merging_do_not_matter() -> None:
    forecast, observed, labels = rain()
    whole = interval(scored(continuous, (forecast, observed, labels)), resamples=50)
    singles = [(forecast[i : i + 1], observed[i : i + 1], labels[i : i + 1]) for i in reversed(range(40))]
    first, second = scored(continuous, *singles[:17]), scored(continuous, *singles[17:])
    first.merge(second)
    xr.testing.assert_allclose(interval(first, resamples=50), whole, rtol=1e-12)
    apart = difference(first, scored(continuous, (forecast, observed, labels)), resamples=50)
    assert abs(apart.mae).max() < 1e-12


def test_of_two_models_with_common_errors_the_better_one_is_sure_though_their_intervals_overlap() -> None:
    forecast, observed, labels = rain()
    good = scored(continuous, (forecast, observed, labels))
    bad = scored(continuous, (forecast + 0.3 * (forecast - observed), observed, labels))
    mine, theirs = interval(good).mae, interval(bad).mae
    assert (mine.sel(bound="upper") > theirs.sel(bound="lower")).all()
    apart = difference(good, bad)
    np.testing.assert_allclose(apart.mae.sel(bound="score"), mine.sel(bound="score") - theirs.sel(bound="score"))
    assert (apart.mae.sel(bound="upper") < 0).all()
    assert apart.mae_excludes_zero.all()
    back = difference(bad, good)
    assert back.mae_excludes_zero.all()
    assert (back.mae.sel(bound="lower") > 0).all()


def test_equal_models_and_equally_good_ones_do_not_differ() -> None:
    forecast, observed, labels = rain()
    model = scored(continuous, (forecast, observed, labels))
    same = difference(model, model)
    assert (same.mae == 0).all()
    assert not same.mae_excludes_zero.any()
    other = scored(continuous, (rain(seed=1)[0] - rain(seed=1)[1] + observed, observed, labels))
    assert not difference(model, other).bias_excludes_zero.all()


def test_any_score_has_intervals_with_all_its_dimensions() -> None:
    forecast, observed, labels = rain()
    for make in (lambda: standard_scores([5, 10]), lambda: Spectrum([5, 10], (6, 7))):
        blocks = scored(make, (forecast, observed, labels))
        score, skill = blocks.total().compute(), interval(blocks, resamples=50)
        for name, variable in score.data_vars.items():
            assert skill[name].dims == ("bound", *variable.dims)
            np.testing.assert_array_equal(skill[name].sel(bound="score"), variable)
            assert (skill[name].sel(bound="lower") <= skill[name].sel(bound="upper")).all(), name
            assert skill[name].attrs == variable.attrs


def test_resamples_without_events_are_left_out_and_infinite_bias_is_kept() -> None:
    """One of four blocks has all the rain, and false alarms are everywhere: 0/0 never, n/0 often."""
    observed = torch.zeros(4, 1, 1, 2, 3)
    observed[0] = 2
    skill = interval(scored(lambda: Contingency([5], [1.0]), (torch.full_like(observed, 2), observed, [1, 2, 3, 4])))
    bias, pod = skill.frequency_bias.squeeze(), skill.pod.squeeze()
    assert bias.values.tolist()[1:] == [4, np.inf]
    assert pod.values.tolist() == [1, 1, 1]


def test_what_cannot_be_resampled_or_compared_is_refused() -> None:
    forecast, observed, labels = rain()
    model = scored(continuous, (forecast, observed, labels))
    with pytest.raises(InputError, match="two blocks of cases at least, not 1"):
        interval(scored(continuous, (forecast, observed, ["a"] * 40)))
    with pytest.raises(InputError, match="level of an interval"):
        interval(model, level=95)
    with pytest.raises(InputError, match="one resample"):
        interval(model, resamples=0)
    with pytest.raises(InputError, match="40 samples need as many labels"):
        Blocks(continuous).update(forecast, observed, labels[:-1])
    with pytest.raises(InputError, match=r"not the same number of them in event 0$"):
        difference(model, scored(continuous, (forecast[1:], observed[1:], labels[1:])))
