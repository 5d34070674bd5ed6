"""Our scores against those of independent libraries, on random rain with NaN."""

import contextlib
import io

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.verification import standard_scores

THRESHOLDS = (0.1, 1.0, 5.0)


@pytest.fixture(scope="module", params=["observed", "common"])
def case(request: pytest.FixtureRequest) -> tuple[xr.Dataset, list[tuple[np.ndarray, np.ndarray]]]:
    """Our scores of two lead times, and the pairs of pixels that they judge.

    Rates are continuous, so that none ties with a threshold; the forecast resembles what was observed.
    """
    random = np.random.default_rng(8)
    shape = (4, 2, 1, 40, 30)
    common = random.gamma(0.3, 4, shape)
    forecast, observed = ((common + random.gamma(0.1, 4, shape)).astype(np.float32) for _ in range(2))
    forecast[:, 1] = np.roll(forecast[:, 1], 3, axis=-1) * 0.7
    for rate in (forecast, observed):
        rate[random.random(shape) < 0.1] = np.nan
    scores = standard_scores([5, 60], THRESHOLDS, request.param)
    scores.update(torch.from_numpy(forecast), torch.from_numpy(observed))
    if request.param == "observed":
        forecast = np.nan_to_num(forecast, nan=0)
    both = np.stack([forecast, observed]).astype(np.float64)
    return scores.compute(), [tuple(both[:, :, step].reshape(2, -1)) for step in range(2)]


def test_continuous_scores_are_those_of_scores(case: tuple[xr.Dataset, list]) -> None:
    from scores import continuous

    ours, pairs = case
    for step, (forecast, observed) in enumerate(pairs):
        fields = xr.DataArray(forecast, dims="pixel"), xr.DataArray(observed, dims="pixel")
        theirs = {
            "mae": continuous.mae(*fields),
            "rmse": continuous.rmse(*fields),
            "bias": continuous.additive_bias(*fields),
            "correlation": continuous.correlation.pearsonr(*fields),
        }
        for name, value in theirs.items():
            assert float(ours[name][step]) == pytest.approx(float(value), abs=1e-6), name


def test_categorical_scores_are_those_of_scores(case: tuple[xr.Dataset, list]) -> None:
    from scores.categorical import ThresholdEventOperator

    ours, pairs = case
    for step, (forecast, observed) in enumerate(pairs):
        fields = xr.DataArray(forecast, dims="pixel"), xr.DataArray(observed, dims="pixel")
        for threshold in THRESHOLDS:
            events = ThresholdEventOperator(default_event_threshold=threshold)
            contingency = events.make_contingency_manager(*fields).transform()
            theirs = {
                "csi": contingency.critical_success_index(),
                "pod": contingency.probability_of_detection(),
                "far": contingency.false_alarm_ratio(),
                "frequency_bias": contingency.frequency_bias(),
                "hss": contingency.heidke_skill_score(),
                "ets": contingency.equitable_threat_score(),
            }
            for name, value in theirs.items():
                mine = float(ours[name].sel(threshold=threshold)[step])
                assert mine == pytest.approx(float(value), abs=1e-6), (name, threshold)


def test_scores_are_those_of_pysteps(case: tuple[xr.Dataset, list]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
        detcat = pytest.importorskip("pysteps.verification.detcatscores")
        detcont = pytest.importorskip("pysteps.verification.detcontscores")
    ours, pairs = case
    for step, (forecast, observed) in enumerate(pairs):
        # Its tables count a missing rate as no event, so it gets the judged pixels alone.
        known = ~np.isnan(forecast) & ~np.isnan(observed)
        fields = forecast[known], observed[known]
        errors = detcont.det_cont_fct(*fields, scores=["MAE", "RMSE", "ME", "corr_p"])
        for mine, theirs in {"mae": "MAE", "rmse": "RMSE", "bias": "ME", "correlation": "corr_p"}.items():
            assert float(ours[mine][step]) == pytest.approx(float(errors[theirs]), abs=1e-6), mine
        for threshold in THRESHOLDS:
            table = detcat.det_cat_fct(*fields, threshold, scores=["CSI", "POD", "FAR", "BIAS", "HSS", "ETS"])
            names = ("csi", "pod", "far", "frequency_bias", "hss", "ets")
            for mine, theirs in zip(names, ("CSI", "POD", "FAR", "BIAS", "HSS", "ETS"), strict=True):
                value = float(ours[mine].sel(threshold=threshold)[step])
                assert value == pytest.approx(float(table[theirs]), abs=1e-6), (mine, threshold)
