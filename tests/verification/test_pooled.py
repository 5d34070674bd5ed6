"""Contingency of blocks: by hand, and against block maxima of scikit-image and the tables of scores."""

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification import Contingency, PooledContingency
from tests.verification.conftest import Rain

NAN = float("nan")


def test_rain_in_another_pixel_of_the_same_block_is_a_hit() -> None:
    forecast, observed = torch.zeros(2, 1, 1, 1, 4, 8)
    forecast[0, 0, 0, 0, 0] = 2  # same block of 4
    observed[0, 0, 0, 3, 3] = 2
    forecast[0, 0, 0, 1, 4] = 2  # the right block
    observed[0, 0, 0, 1, 3] = 2  # the left block
    score = PooledContingency([5], [1.0], neighbourhoods=[1, 2, 4])
    score.update(forecast, observed)
    scores = score.compute().isel(lead_time=0, threshold=0)
    assert scores.pooled_csi.values.tolist() == [0, 0, 1 / 2]
    assert scores.pooled_frequency_bias.values.tolist() == [1, 1, 2]


def test_a_neighbourhood_of_one_pixel_is_no_neighbourhood(rain_pair: Rain) -> None:
    plain, pooled = Contingency([10, 20]), PooledContingency([10, 20], neighbourhoods=[2], pixel_km=2)
    for score in (plain, pooled):
        score.update(*rain_pair.tensors)
    for name in ("csi", "pod", "far", "frequency_bias"):
        one = pooled.compute()[f"pooled_{name}"].sel(neighbourhood=2)
        np.testing.assert_array_equal(one.values, plain.compute()[name].values)


def test_pixels_that_are_not_judged_are_in_no_block() -> None:
    forecast = torch.tensor([[9.0, 0, 0, 0, 9, NAN]]).reshape(1, 1, 1, 1, 6)
    observed = torch.tensor([[NAN, 0, NAN, NAN, 9, 9]]).reshape(1, 1, 1, 1, 6)
    score = PooledContingency([5], [1.0], neighbourhoods=[2])
    score.update(forecast, observed)
    cells = {name: int(count.item()) for name, count in score.sums.items()}
    assert cells == {"hits": 1, "misses": 0, "false_alarms": 0, "correct_negatives": 1}


def test_scores_are_those_of_other_libraries(rain_pair: Rain) -> None:
    measure = pytest.importorskip("skimage.measure")
    from scores.categorical import ThresholdEventOperator

    thresholds, widths = (0.105, 1.005, 5.005), (4, 16)
    ours = PooledContingency([10, 20], thresholds, pixel_km=0.5, neighbourhoods=(2, 8))
    ours.update(*rain_pair.tensors)
    skill = ours.compute()
    for step in range(2):
        for place, width in enumerate(widths):
            blocks = [
                np.concatenate(
                    [
                        measure.block_reduce(np.where(known, rate, -1), (width, width), np.max, cval=-1).ravel()
                        for *rates, known in rain_pair.images(step)
                        for rate in [rates[which]]
                    ]
                )
                for which in range(2)
            ]
            fields = [xr.DataArray(np.where(rate < 0, np.nan, rate), dims="block") for rate in blocks]
            for k, threshold in enumerate(thresholds):
                events = ThresholdEventOperator(default_event_threshold=threshold)
                table = events.make_contingency_manager(*fields).transform()
                theirs = {
                    "csi": table.critical_success_index(),
                    "pod": table.probability_of_detection(),
                    "far": table.false_alarm_ratio(),
                    "frequency_bias": table.frequency_bias(),
                }
                for name, value in theirs.items():
                    mine = float(skill[f"pooled_{name}"][step, place, k])
                    assert mine == pytest.approx(float(value), abs=1e-6), (name, width, threshold)


@pytest.mark.parametrize("neighbourhoods", [(3.0,), (1.0,), (4.0, 2.0), ()])
def test_neighbourhoods_must_be_whole_pixels_and_rise(neighbourhoods: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"whole number of pixels of 2 km; take|numbers that rise"):
        PooledContingency([5], pixel_km=2, neighbourhoods=neighbourhoods)
