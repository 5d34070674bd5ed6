"""Errors in mm/h: hand-computed values, a loop twin, missing forecasts, constant fields, 64-bit sums."""

from itertools import product

import numpy as np
import pytest
import torch

from nowcast.verification import Continuous

NAN = float("nan")


def one(forecast: list[float], observed: list[float], pixels: str = "observed") -> dict[str, float]:
    """Scores of one row of pixels at one lead time."""
    score = Continuous([5], pixels)
    score.update(*(torch.tensor(rates).reshape(1, 1, 1, 1, -1) for rates in (forecast, observed)))
    return {str(name): float(value.squeeze()) for name, value in score.compute().data_vars.items()}


def test_errors_are_those_by_hand() -> None:
    scores = one([1.0, 2, 3, 6], [2.0, 2, 5, 3])
    assert scores["mae"] == 6 / 4
    assert scores["bias"] == 0
    assert scores["rmse"] == pytest.approx(np.sqrt((1 + 4 + 9) / 4))
    # Deviations (−2, −1, 0, 3) and (−1, −1, 2, 0): covariance 3, sums of squares 14 and 6.
    assert scores["correlation"] == pytest.approx(3 / np.sqrt(14 * 6))
    assert (scores["missing_share"], scores["pixel_count"]) == (0, 4)


def test_too_much_rain_is_a_positive_bias() -> None:
    assert one([3.0, 1], [1.0, 1])["bias"] == 1


def test_a_perfect_forecast_has_no_error() -> None:
    scores = one([0.0, 0.1, 7, NAN], [0.0, 0.1, 7, NAN])
    assert (scores["mae"], scores["rmse"], scores["bias"], scores["missing_share"]) == (0, 0, 0, 0)
    assert scores["correlation"] == pytest.approx(1)


def test_a_missing_forecast_is_dry_or_left_out_and_its_share_is_said() -> None:
    forecast, observed = [NAN, NAN, 2, 5, NAN], [4, 0, 3, NAN, NAN]
    dry, without = one(forecast, observed), one(forecast, observed, "common")
    assert (dry["mae"], dry["bias"], dry["pixel_count"]) == (5 / 3, -5 / 3, 3)
    assert (without["mae"], without["bias"], without["pixel_count"]) == (1, -1, 1)
    assert dry["missing_share"] == without["missing_share"] == 2 / 3


def test_without_observations_there_is_no_score() -> None:
    scores = one([1.0, 2], [NAN, NAN])
    assert scores.pop("pixel_count") == 0
    assert np.isnan(list(scores.values())).all()


@pytest.mark.parametrize("level", [0, 0.1, 300.07])
def test_a_constant_field_correlates_with_nothing(level: float) -> None:
    """A variance of rounding errors is no variance."""
    random = np.random.default_rng(0)
    scores = one([level] * 997, random.gamma(0.5, 4, 997).tolist())
    assert np.isnan(scores["correlation"])


def test_sums_have_64_bits() -> None:
    """float32 would lose the drizzle beside the cloudburst."""
    scores = one([2.0**14] + [2.0**-12] * 1000, [0.0] * 1001)
    assert scores["mae"] == (2**14 + 1000 * 2**-12) / 1001
    assert scores["rmse"] == np.sqrt((2**28 + 1000 * 2**-24) / 1001)


@pytest.mark.parametrize("pixels", ["observed", "common"])
def test_scores_are_those_of_a_loop_over_pixels(pixels: str) -> None:
    random = np.random.default_rng(5)
    shape = (3, 2, 2, 4, 5)
    forecast, observed = random.gamma(0.5, 3, (2, *shape))
    forecast[random.random(shape) < 0.2] = NAN
    observed[random.random(shape) < 0.2] = NAN
    pairs: list[list[tuple[float, float]]] = [[], []]
    for b, t, c, y, x in product(*map(range, shape)):
        f, o = forecast[b, t, c, y, x], observed[b, t, c, y, x]
        if np.isnan(o) or (np.isnan(f) and pixels == "common"):
            continue
        pairs[t].append((0.0 if np.isnan(f) else f, o))
    score = Continuous([5, 15], pixels)
    score.update(torch.from_numpy(forecast), torch.from_numpy(observed))
    scores = score.compute()
    for lead, (f, o) in zip((5, 15), (np.array(column).T for column in pairs), strict=True):
        at = scores.sel(lead_time=lead)
        assert at.pixel_count == len(f)
        assert float(at.mae) == pytest.approx(np.mean(np.abs(f - o)))
        assert float(at.rmse) == pytest.approx(np.sqrt(np.mean((f - o) ** 2)))
        assert float(at.bias) == pytest.approx(f.mean() - o.mean())
        assert float(at.correlation) == pytest.approx(np.corrcoef(f, o)[0, 1])
