"""Probabilities: Murphy's decomposition by hand, and scores, xskillscore and pysteps."""

import contextlib
import io

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification import EventProbabilities, event_probabilities
from tests.verification.conftest import Rain

NAN = float("nan")
THRESHOLDS = (0.105, 1.005, 5.005)
MEMBERS = 8


def one(probabilities: list[float], events: list[int], bins: int = 10) -> xr.Dataset:
    score = EventProbabilities([5], [1.0], bins)
    score.update(
        torch.tensor(probabilities).reshape(1, 1, 1, 1, 1, -1), 2.0 * torch.tensor(events).reshape(1, 1, 1, 1, -1)
    )
    return score.compute().squeeze()


def disturbed(rain: Rain) -> torch.Tensor:
    """An ensemble of the forecast times random factors."""
    random = np.random.default_rng(9)
    shape = rain.forecast.shape
    factors = random.gamma(0.7, 1.5, (shape[0], MEMBERS, *shape[1:])).astype(np.float32)
    return torch.from_numpy(rain.forecast[:, None] * factors)


@pytest.fixture(scope="module")
def probabilities(rain_pair: Rain) -> torch.Tensor:
    """Shares of an ensemble, (B, T_out, K, C, H, W), NaN where the forecast is."""
    return event_probabilities(disturbed(rain_pair), THRESHOLDS)


def pairs(rain: Rain, probabilities: torch.Tensor, step: int, k: int) -> tuple[xr.DataArray, xr.DataArray]:
    """The judged probabilities and outcomes of one lead time and threshold."""
    _, observed, known = rain.judged
    chosen = known[:, step]
    p = probabilities[:, step, k].nan_to_num().double().numpy()[chosen]
    o = (observed[:, step][chosen] >= THRESHOLDS[k]).astype(float)
    return xr.DataArray(p, dims="pixel"), xr.DataArray(o, dims="pixel")


def test_the_brier_score_is_taken_apart_as_by_hand() -> None:
    """Four times 0.2 with one event, twice 0.8 with both: o = 3/6."""
    scores = one([0.2, 0.2, 0.2, 0.2, 0.8, 0.8], [0, 0, 0, 1, 1, 1])
    assert scores.brier.item() == pytest.approx((3 * 0.2**2 + 0.8**2 + 2 * 0.2**2) / 6)
    assert scores.reliability.item() == pytest.approx((4 * (0.2 - 0.25) ** 2 + 2 * (0.8 - 1) ** 2) / 6)
    assert scores.resolution.item() == pytest.approx((4 * (0.25 - 0.5) ** 2 + 2 * (1 - 0.5) ** 2) / 6)
    assert scores.uncertainty.item() == 0.25
    assert scores.brier_skill.item() == pytest.approx(1 - scores.brier.item() / 0.25)
    assert scores.sharpness.item() == pytest.approx(np.var([0.2] * 4 + [0.8] * 2))
    assert scores.roc_area.item() == pytest.approx((6 + 3 / 2) / 9)  # 6 of 9 pairs in order, 3 tied
    assert scores.probability_count.values.tolist() == [0, 0, 4, 0, 0, 0, 0, 0, 2, 0]


def test_parts_add_up_where_probabilities_differ_within_bins() -> None:
    random = np.random.default_rng(0)
    p = random.random(4000)
    scores = one(p.tolist(), (random.random(4000) < p**2).astype(int).tolist(), bins=4)
    parts = scores.reliability - scores.resolution + scores.uncertainty
    assert parts.item() == pytest.approx(scores.brier.item())
    assert 0 < scores.resolution < scores.uncertainty


def test_tenths_are_in_the_bin_that_they_begin() -> None:
    """In float32 and float64, though 0.3 × 10 may be a little below 3."""
    for kind in (torch.float32, torch.float64):
        p = (torch.arange(11, dtype=kind) / 10).reshape(1, 1, 1, 1, 1, 11)
        score = EventProbabilities([5], [1.0])
        score.update(p, torch.zeros(1, 1, 1, 1, 11))
        assert score.compute().probability_count.values.ravel().tolist() == [1] * 9 + [2]


def test_believable_probabilities_are_reliable_and_certain_ones_sharp() -> None:
    random = np.random.default_rng(1)
    p = random.integers(0, 11, 200_000) / 10
    o = random.random(200_000) < p
    believable, certain = one(p.tolist(), o.astype(int).tolist()), one(o.astype(float).tolist(), o.astype(int).tolist())
    assert believable.reliability < 1e-4
    assert (certain.brier, certain.roc_area, certain.reliability) == (0, 1, 0)
    assert certain.sharpness.item() == pytest.approx(certain.uncertainty.item())


def test_without_events_there_is_no_discrimination() -> None:
    scores = one([0.1, 0.2], [0, 0])
    assert np.isnan([scores.roc_area, scores.observed_frequency[5]]).all()
    assert scores.uncertainty == 0


def test_scores_are_those_of_scores(rain_pair: Rain, probabilities: torch.Tensor) -> None:
    from scores.probability import brier_score, roc_auc

    ours = EventProbabilities([10, 20], THRESHOLDS, bins=MEMBERS + 1)
    ours.update(probabilities, rain_pair.tensors[1])
    scores = ours.compute()
    for step in range(2):
        for k in range(3):
            p, o = pairs(rain_pair, probabilities, step, k)
            assert scores.brier[step, k].item() == pytest.approx(float(brier_score(p, o)), abs=1e-6)
            assert scores.roc_area[step, k].item() == pytest.approx(float(roc_auc(p, o)), abs=1e-6)


def test_the_diagram_is_that_of_xskillscore(rain_pair: Rain, probabilities: torch.Tensor) -> None:
    xskillscore = pytest.importorskip("xskillscore")
    # Borders that no share of 8 members falls on, since libraries differ in which side such a one is.
    ours = EventProbabilities([10, 20], THRESHOLDS, bins=7)
    ours.update(probabilities * 0.99 + 0.001, rain_pair.tensors[1])
    scores = ours.compute()
    for step in range(2):
        for k in range(3):
            p, o = pairs(rain_pair, torch.where(probabilities.isnan(), 0, probabilities * 0.99 + 0.001), step, k)
            edges = np.linspace(0, 1 + 1e-9, 8)
            theirs = xskillscore.reliability(o == 1, p, dim="pixel", probability_bin_edges=edges)
            np.testing.assert_allclose(scores.observed_frequency[step, k].values, theirs.values, atol=1e-6)
            np.testing.assert_array_equal(scores.probability_count[step, k].values, theirs.samples.values)
            brier = xskillscore.brier_score(o == 1, p, dim="pixel")
            assert scores.brier[step, k].item() == pytest.approx(float(brier), abs=1e-6)


def test_the_diagram_is_that_of_pysteps(rain_pair: Rain, probabilities: torch.Tensor) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
        probscores = pytest.importorskip("pysteps.verification.probscores")
    shifted = probabilities * 0.99 + 0.001
    ours = EventProbabilities([10, 20], THRESHOLDS, bins=7)
    ours.update(shifted, rain_pair.tensors[1])
    scores = ours.compute()
    for step in range(2):
        for k, threshold in enumerate(THRESHOLDS):
            p, o = pairs(rain_pair, torch.where(probabilities.isnan(), 0, shifted), step, k)
            diagram = probscores.reldiag_init(threshold, n_bins=7, min_count=0)
            probscores.reldiag_accum(diagram, p.values, np.where(o.values > 0, threshold + 1, 0))
            mean, frequency = probscores.reldiag_compute(diagram)
            some = scores.probability_count[step, k].values > 0
            np.testing.assert_allclose(scores.observed_frequency[step, k].values[some], np.array(frequency)[some])
            np.testing.assert_allclose(scores.mean_probability[step, k].values[some], np.array(mean)[some], atol=1e-6)


def test_probabilities_of_members_are_shares_that_reach_the_threshold() -> None:
    members = torch.tensor([[0.0, 1.0, 2.0, 0.99], [NAN, 1.0, 2.0, 3.0]]).reshape(2, 4, 1, 1, 1, 1)
    shares = event_probabilities(members, [1.0, 2.0])
    assert shares.shape == (2, 1, 2, 1, 1, 1)
    assert shares[0].flatten().tolist() == [0.5, 0.25]
    assert shares[1].isnan().all()


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"from 0 to 1, not from 0.2 to 20"):
        one([0.2, 20.0], [0, 1])
    with pytest.raises(InputError, match="one bin at least"):
        EventProbabilities([5], bins=0)
    with pytest.raises(InputError, match=r"take forecasts \(B, 1, 2, C, H, W\)"):
        EventProbabilities([5], [1.0, 2.0]).update(torch.zeros(1, 1, 1, 1, 4, 5), torch.zeros(1, 1, 1, 4, 5))
