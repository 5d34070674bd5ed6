"""Scores of events: hand-computed tables, a loop twin, ties with thresholds, and what 0/0 is."""

from itertools import product

import numpy as np
import pytest
import torch

from nowcast.contracts import InputError
from nowcast.verification import Contingency

NAN = float("nan")


def table(hits: int, misses: int, false_alarms: int, correct_negatives: int) -> Contingency:
    """A score of one lead time that has seen so many pixels of each kind, at 1 mm/h."""
    numbers = (hits, misses, false_alarms, correct_negatives)
    forecast, observed = (np.repeat(rates, numbers) for rates in ([2, 0, 3, 0.5], [1, 4, 0.9, 0]))
    score = Contingency([5], [1.0])
    score.update(*(torch.tensor(rates).float().reshape(1, 1, 1, 1, -1) for rates in (forecast, observed)))
    return score


def only(score: Contingency) -> dict[str, float]:
    """The scores of the one lead time and threshold."""
    return {str(name): float(value.squeeze()) for name, value in score.compute().data_vars.items()}


def test_a_table_is_scored_as_by_hand() -> None:
    assert only(table(hits=3, misses=2, false_alarms=1, correct_negatives=4)) == pytest.approx(
        {
            "csi": 3 / 6,
            "pod": 3 / 5,
            "far": 1 / 4,
            "frequency_bias": 4 / 5,
            "hss": (7 / 10 - 1 / 2) / (1 - 1 / 2),  # 7 of 10 right, where chance gets (5·4 + 5·6) / 10² right
            "ets": (3 - 2) / (6 - 2),  # chance hits 5·4 / 10
            "observed_events": 5,
        }
    )


def test_a_perfect_forecast_has_every_skill() -> None:
    perfect = {"csi": 1, "pod": 1, "far": 0, "frequency_bias": 1, "hss": 1, "ets": 1, "observed_events": 7}
    assert only(table(hits=7, misses=0, false_alarms=0, correct_negatives=4)) == perfect


def test_where_all_is_dry_there_is_nothing_to_score() -> None:
    scores = only(table(hits=0, misses=0, false_alarms=0, correct_negatives=11))
    assert scores.pop("observed_events") == 0
    assert np.isnan(list(scores.values())).all()


def test_where_it_rains_everywhere_only_skill_against_chance_is_undefined() -> None:
    """Chance is right everywhere too. Large odd counts: rounding must not turn 0/0 into a number."""
    scores = only(table(hits=99_991, misses=0, false_alarms=0, correct_negatives=0))
    assert (scores["csi"], scores["pod"], scores["far"], scores["frequency_bias"]) == (1, 1, 0, 1)
    assert np.isnan([scores["hss"], scores["ets"]]).all()


def test_events_that_were_forecast_but_never_happened() -> None:
    scores = only(table(hits=0, misses=0, false_alarms=2, correct_negatives=3))
    assert (scores["csi"], scores["far"], scores["frequency_bias"]) == (0, 1, np.inf)
    assert np.isnan(scores["pod"])


def test_a_climate_of_counts_does_not_overflow() -> None:
    """Doubled 40 times: products of two of these counts pass 2⁶³."""
    score = table(hits=3, misses=2, false_alarms=1, correct_negatives=4)
    once = only(score)
    for _ in range(40):
        score.merge(score)
    assert score.sums["hits"].item() == 3 * 2**40
    many = only(score)
    assert many.pop("observed_events") == once.pop("observed_events") * 2**40
    assert many == pytest.approx(once)


@pytest.mark.parametrize("unpack", [np.multiply, lambda k, step: k.astype(np.float64) * float(step)])
def test_stored_rates_reach_their_own_value_and_no_other(unpack) -> None:
    """Hundredths unpacked in float32 or float64 differ by rounding; no event may depend on that."""
    hundredths = np.arange(1, 65_535, dtype=np.float32)
    rates = torch.from_numpy(unpack(hundredths, np.float32(0.01) if unpack is np.multiply else 0.01)).float()
    assert unpack is not np.multiply or (rates.double() < torch.from_numpy(hundredths / 100).double()).any()
    for threshold in (0.1, 0.3, 0.7, 1, 1.1, 5, 19.9, 50.05, 500.03):
        score = Contingency([5], [threshold])
        score.update(rates.reshape(1, 1, 1, 1, -1), torch.zeros(1, 1, 1, 1, len(rates)))
        assert score.sums["false_alarms"].item() == 65_535 - round(threshold * 100)


def test_a_missing_forecast_is_dry_or_left_out() -> None:
    forecast = torch.tensor([NAN, NAN, 2, 2, NAN, 0]).reshape(1, 1, 1, 2, 3)
    observed = torch.tensor([3, 0, 3, NAN, NAN, 0]).reshape(1, 1, 1, 2, 3)
    counts = {}
    for pixels in ("observed", "common"):
        score = Contingency([5], [1.0], pixels)
        score.update(forecast, observed)
        counts[pixels] = {cell: int(count.item()) for cell, count in score.sums.items()}
    assert counts["observed"] == {"hits": 1, "misses": 1, "false_alarms": 0, "correct_negatives": 2}
    assert counts["common"] == {"hits": 1, "misses": 0, "false_alarms": 0, "correct_negatives": 1}


@pytest.mark.parametrize("pixels", ["observed", "common"])
def test_counts_are_those_of_a_loop_over_pixels(pixels: str) -> None:
    random = np.random.default_rng(3)
    shape, thresholds = (3, 2, 2, 4, 5), (0.5, 2.0, 2.5)
    forecast, observed = (random.choice([0, 0.5, 1, 2, 2.25, 3, NAN], size=shape) for _ in range(2))
    cells = ("hits", "misses", "false_alarms", "correct_negatives")
    expected = {cell: np.zeros((2, 3), dtype=int) for cell in cells}
    for b, t, c, y, x in product(*map(range, shape)):
        f, o = forecast[b, t, c, y, x], observed[b, t, c, y, x]
        if np.isnan(o) or (np.isnan(f) and pixels == "common"):
            continue
        for k, threshold in enumerate(thresholds):
            yes_forecast, yes_observed = not np.isnan(f) and f >= threshold, o >= threshold
            cell = {
                (True, True): "hits",
                (False, True): "misses",
                (True, False): "false_alarms",
                (False, False): "correct_negatives",
            }[yes_forecast, yes_observed]
            expected[cell][t, k] += 1
    score = Contingency([5, 15], thresholds, pixels)
    score.update(torch.from_numpy(forecast), torch.from_numpy(observed))
    for cell, counts in expected.items():
        np.testing.assert_array_equal(score.sums[cell], counts)
        assert score.sums[cell].dtype == np.int64


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [((0, 1), "above 0"), ((5, 1), "rise"), ((1, 1), "rise"), ((), "rise"), ((NAN,), "rise")],
)
def test_impossible_thresholds_are_refused(thresholds: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Contingency([5], thresholds)
