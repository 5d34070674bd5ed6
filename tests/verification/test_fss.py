"""Fractions skill: closed forms, a twin by hand, and pysteps and scores."""

import contextlib
import io

import numpy as np
import pytest
import torch

from nowcast.contracts import InputError
from nowcast.verification import FractionsSkill
from tests.verification.conftest import Rain

SCALES, THRESHOLDS = (1, 2, 5, 8, 33), (0.105, 1.005, 5.005)


def one(forecast: torch.Tensor, observed: torch.Tensor, scales: tuple[float, ...]) -> list[float]:
    score = FractionsSkill([5], [1.0], scales=scales)
    score.update(forecast[None, None, None], observed[None, None, None])
    return score.compute().fss.squeeze().values.tolist()


def test_a_displaced_line_has_the_skill_of_the_closed_form() -> None:
    """Moved by d in windows of n ≥ d rows, 2 d windows see one line, and 2 n lines are seen: FSS = 1 − 2 d / 2 n."""
    height, width, moved = 60, 61, 3
    forecast, observed = torch.zeros(2, height, width)
    forecast[30], observed[30 + moved] = 2, 2
    expected = [0, 0, 1 - 3 / 5, 1 - 3 / 9, 1 - 3 / 15]
    assert one(forecast, observed, (1, 3, 5, 9, 15)) == pytest.approx(expected)


def test_in_windows_that_see_everything_only_the_bias_is_left() -> None:
    """The asymptotic FSS of Roberts and Lean: 2 f o / (f² + o²)."""
    random = torch.Generator().manual_seed(0)
    forecast, observed = (torch.rand(20, 23, generator=random) < share for share in (0.3, 0.1))
    f, o = forecast.float().mean(), observed.float().mean()
    skill = one(forecast.float() * 2, observed.float() * 2, (1, 99))[1]
    assert skill == pytest.approx(float(2 * f * o / (f * f + o * o)))


def test_a_perfect_forecast_has_skill_one_at_every_scale(rain_pair: Rain) -> None:
    observed = rain_pair.tensors[1]
    score = FractionsSkill([10, 20], scales=SCALES)
    score.update(observed, observed)
    assert (score.compute().fss == 1).all()


def test_without_events_there_is_no_skill() -> None:
    assert np.isnan(one(torch.zeros(6, 7), torch.zeros(6, 7), (1, 3))).all()


def test_useful_skill_is_half_way_from_the_climate_to_one() -> None:
    observed = torch.tensor([2.0, 0, 0, float("nan"), 0]).reshape(1, 1, 1, 1, 5)
    score = FractionsSkill([5], [1.0], scales=(1,))
    score.update(observed, observed)
    assert score.compute().fss_useful.item() == 0.5 + 0.25 / 2


def test_scores_are_those_of_pysteps_at_any_scale(rain_pair: Rain) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
        spatial = pytest.importorskip("pysteps.verification.spatialscores")
    ours = FractionsSkill([10, 20], THRESHOLDS, pixel_km=2, scales=[2 * scale for scale in SCALES])
    ours.update(*rain_pair.tensors)
    for step in range(2):
        for s, scale in enumerate(SCALES):
            for k, threshold in enumerate(THRESHOLDS):
                theirs = spatial.fss_init(threshold, scale)
                for forecast, observed, _ in rain_pair.images(step):
                    spatial.fss_accum(theirs, forecast, observed)
                mine = ours.compute().fss[step, s, k].item()
                assert mine == pytest.approx(spatial.fss_compute(theirs), abs=1e-6, nan_ok=True), (scale, threshold)


def test_scores_are_those_of_scores(rain_pair: Rain) -> None:
    import xarray as xr
    from scores.spatial import fss_2d

    ours = FractionsSkill([10, 20], THRESHOLDS, scales=(1, 5, 9))
    ours.update(*rain_pair.tensors)
    for step in range(2):
        images = rain_pair.images(step)
        for s, scale in enumerate((1, 5, 9)):
            # It takes the windows that lie within the fields; ours reach over the border, where it is dry.
            stacks = [np.stack([np.pad(image[which], scale // 2) for image in images]) for which in range(2)]
            fields = [xr.DataArray(stack, dims=("case", "y", "x")) for stack in stacks]
            for k, threshold in enumerate(THRESHOLDS):
                options = {"window_size": (scale, scale), "spatial_dims": ("y", "x")}
                theirs = fss_2d(*fields, event_threshold=threshold, **options)
                mine = ours.compute().fss[step, s, k].item()
                assert mine == pytest.approx(float(theirs), abs=1e-6), (scale, threshold)


def test_a_scale_that_is_no_whole_number_of_pixels_is_refused() -> None:
    with pytest.raises(InputError, match=r"5 km is not a whole number of pixels of 2 km; take 4 km"):
        FractionsSkill([5], pixel_km=2, scales=(5,))
    with pytest.raises(InputError, match="wider than 0 km, not -1"):
        FractionsSkill([5], pixel_km=-1)
