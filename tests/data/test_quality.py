"""Which fields are refused, and what quality control takes away."""

import numpy as np
import pytest

from nowcast.contracts import InputError
from nowcast.data.quality import QualityControl, WetFrequency, why_unfit, without_speckle


def rain() -> np.ndarray:
    """A dry field with one wet area and a place that is not observed."""
    rate = np.zeros((20, 30), dtype=np.float32)
    rate[4:9, 6:12] = 3
    rate[15:, :4] = np.nan
    return rate


def broken(how: str) -> np.ndarray:
    rate = rain()
    if how == "constant":
        rate[np.isfinite(rate)] = 7
    elif how == "negative":
        rate[0, 0] = -1
    elif how == "infinite":
        rate[0, 0] = np.inf
    elif how == "nothing is observed":
        rate[:] = np.nan
    elif how == "above 300 mm/h":
        rate[10:14] = 400
    return rate


@pytest.mark.parametrize("how", ["constant", "negative", "infinite", "nothing is observed", "above 300 mm/h"])
def test_fields_that_no_radar_sees_are_unfit(how: str) -> None:
    assert how in str(why_unfit(broken(how)))


def test_rain_dry_weather_and_a_single_spike_are_fit() -> None:
    spike = rain()
    spike[0, 0] = 600
    assert why_unfit(rain()) is None
    assert why_unfit(np.zeros((20, 30))) is None
    assert why_unfit(spike) is None


def test_speckle_becomes_dry_and_rain_and_nan_stay() -> None:
    rate = rain()
    rate[1, 1] = rate[2, 2] = 50  # two pixels that touch at a corner
    rate[0, 20:23] = 5
    rate[14, 3] = 9  # alone beside what is not observed
    clean = without_speckle(rate, 3)
    expected = rain()
    expected[0, 20:23] = 5
    assert np.array_equal(clean, expected, equal_nan=True)


def test_clipping_cuts_rates_and_nothing_else() -> None:
    clipped = QualityControl(clip=2).apply(rain())
    assert np.array_equal(clipped, np.where(rain() == 3, 2, rain()), equal_nan=True)


def test_clutter_is_what_is_wet_whenever_it_is_observed() -> None:
    frequency, random = WetFrequency((20, 30)), np.random.default_rng(0)
    for number in range(40):
        rate = np.where(random.random((20, 30)) < 0.2, 1.0, 0.0)
        rate[3, 4] = 0.5  # always
        rate[5, 6] = 2.0 if number < 10 else np.nan  # always when observed
        rate[7] = np.nan  # never observed
        frequency.update(rate)
    assert {tuple(map(int, place)) for place in np.argwhere(frequency.clutter(0.9))} == {(3, 4), (5, 6)}


@pytest.mark.parametrize("wrong", [{"speckle": -1}, {"clip": 0}, {"clutter": 1.5}])
def test_impossible_options_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        QualityControl(**wrong)
