"""Rank histogram and spread–skill: calibrated ensembles, hand-computed ties, and other libraries."""

import contextlib
import io

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification import RankHistogram, SpreadSkill
from tests.verification.conftest import Rain

NAN = float("nan")
MEMBERS = 5


def disturbed(rain: Rain) -> torch.Tensor:
    """An ensemble of the forecast times random factors; dry pixels tie."""
    random = np.random.default_rng(3)
    shape = rain.forecast.shape
    factors = random.gamma(3, 0.4, (shape[0], MEMBERS, *shape[1:])).astype(np.float32)
    return torch.from_numpy(rain.forecast[:, None] * factors)


def arrays(rain: Rain, members: torch.Tensor, wet: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Judged rates with dry ones as 0 and pixels where all are dry as NaN."""
    _, observed, known = rain.judged
    fields = members.nan_to_num().double().numpy()
    fields, observed = np.where(fields >= wet, fields, 0), np.where(observed >= wet, observed, 0)
    some = known & ((observed > 0) | (fields > 0).any(axis=1))
    fcst = xr.DataArray(np.where(some[:, None], fields, NAN), dims=tuple("bmtcyx"))
    return fcst, xr.DataArray(np.where(some, observed, NAN), dims=tuple("btcyx"))


def histogram(members: list[float], observed: float) -> list[float]:
    score = RankHistogram([5], len(members), wet=0.5)
    score.update(torch.tensor(members).reshape(1, -1, 1, 1, 1, 1), torch.tensor(observed).reshape(1, 1, 1, 1, 1))
    return score.compute().rank_histogram.squeeze().values.tolist()


def test_ranks_are_those_by_hand_and_ties_are_shared() -> None:
    assert histogram([1, 2, 3], 2.5) == [0, 0, 1, 0]
    assert histogram([1, 2, 3], 0.0) == [1, 0, 0, 0]
    assert histogram([3, 2, 2], 2.0) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert histogram([0, 0.4, 7], 0.2) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0]), "dry is dry"
    assert np.isnan(histogram([0, 0.4, 0], 0.2)).all(), "all dry says nothing"


def test_an_observation_that_could_be_a_member_has_a_flat_histogram_and_ratio_one() -> None:
    random = np.random.default_rng(0)
    rates = torch.from_numpy(random.gamma(0.3, 4, (30, MEMBERS + 1, 1, 1, 50, 60)))
    common = torch.from_numpy(random.gamma(0.5, 1, (30, 1, 1, 1, 50, 60)))
    rates = common * rates
    ranks, spread = RankHistogram([5], MEMBERS), SpreadSkill([5], MEMBERS)
    for score in (ranks, spread):
        score.update(rates[:, 1:], rates[:, 0])
    np.testing.assert_allclose(ranks.compute().rank_histogram.values, 1 / (MEMBERS + 1), rtol=0.03)
    assert spread.compute().spread_skill_ratio.item() == pytest.approx(1, abs=0.05)


def test_too_little_spread_makes_the_ends_high_and_the_ratio_low() -> None:
    random = np.random.default_rng(1)
    members = torch.from_numpy(3 + random.normal(0, 0.1, (2, MEMBERS, 1, 1, 30, 40)))
    observed = torch.from_numpy(3 + random.normal(0, 0.5, (2, 1, 1, 30, 40)))
    ranks, spread = RankHistogram([5], MEMBERS), SpreadSkill([5], MEMBERS)
    for score in (ranks, spread):
        score.update(members, observed)
    counts = ranks.compute().rank_histogram.squeeze().values
    assert counts[[0, -1]].min() > 3 * counts[1:-1].max()
    # Variances 0.01 and 0.25 + 0.01 / 5.
    assert spread.compute().spread_skill_ratio.item() == pytest.approx(np.sqrt(1.2 * 0.01 / 0.252), rel=0.05)


@pytest.mark.parametrize("wet", [0.1, 1e-9])
def test_histograms_are_those_of_scores_with_ties(rain_pair: Rain, wet: float) -> None:
    from scores.probability import rank_histogram

    members = disturbed(rain_pair)
    ours = RankHistogram([10, 20], MEMBERS, wet)
    ours.update(members, rain_pair.tensors[1])
    fcst, obs = arrays(rain_pair, members, wet * (1 - 1e-6))
    with pytest.warns(UserWarning, match="NaN"):
        theirs = rank_histogram(fcst, obs, "m", preserve_dims=["t"])
    np.testing.assert_allclose(ours.compute().rank_histogram.values, theirs.transpose("t", "rank").values, atol=1e-6)
    np.testing.assert_array_equal(ours.compute().rank_count.values, obs.notnull().sum(list("bcyx")).values)


def test_histograms_are_those_of_xskillscore_and_pysteps_without_ties(rain_pair: Rain) -> None:
    """They break ties at random or by order, so every rate is made different."""
    xskillscore = pytest.importorskip("xskillscore")
    with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
        ensscores = pytest.importorskip("pysteps.verification.ensscores")
    random = np.random.default_rng(2)
    members = disturbed(rain_pair).double()
    members += torch.from_numpy(1 + random.random(members.shape))
    observed = torch.from_numpy(rain_pair.observed + 1 + random.random(rain_pair.observed.shape))
    ours = RankHistogram([10, 20], MEMBERS, pixels="common")
    ours.update(members, observed)
    counts = ours.compute().rank_histogram * ours.compute().rank_count
    known = ~(members.isnan().any(dim=1) | observed.isnan())
    for step in range(2):
        chosen = known[:, step]
        fields = members[:, :, step].movedim(1, 0)[:, chosen].numpy(), observed[:, step][chosen].numpy()
        fcst, obs = xr.DataArray(fields[0], dims=("member", "pixel")), xr.DataArray(fields[1], dims="pixel")
        np.testing.assert_allclose(counts[step], xskillscore.rank_histogram(obs, fcst, dim="pixel").values)
        np.testing.assert_allclose(counts[step], ensscores.rankhist(*fields, normalize=False))


def test_spread_and_error_are_those_of_xskillscore(rain_pair: Rain) -> None:
    xskillscore = pytest.importorskip("xskillscore")
    members = disturbed(rain_pair)
    ours = SpreadSkill([10, 20], MEMBERS)
    ours.update(members, rain_pair.tensors[1])
    scores = ours.compute()
    _, observed, known = rain_pair.judged
    for step in range(2):
        chosen = known[:, step]
        fcst = xr.DataArray(
            members.nan_to_num().double()[:, :, step].movedim(1, 0)[:, chosen], dims=("member", "pixel")
        )
        obs = xr.DataArray(observed[:, step][chosen], dims="pixel")
        error = float(xskillscore.rmse(fcst.mean("member"), obs))
        spread = float(np.sqrt(fcst.var("member", ddof=1).mean()))
        assert scores.ensemble_rmse[step].item() == pytest.approx(error, abs=1e-6)
        assert scores.ensemble_spread[step].item() == pytest.approx(spread, abs=1e-6)
        assert scores.spread_skill_ratio[step].item() == pytest.approx(np.sqrt(6 / 5) * spread / error, abs=1e-6)


def test_too_few_members_are_refused() -> None:
    with pytest.raises(InputError, match="a spread needs at least 2 members, not 1"):
        SpreadSkill([5], 1)
    with pytest.raises(InputError, match="a rank histogram needs at least 1 members, not 0"):
        RankHistogram([5], 0)
    with pytest.raises(InputError, match="above 0"):
        RankHistogram([5], 3, wet=0)
    with pytest.raises(InputError, match=r"take forecasts \(B, 4, 1, C, H, W\)"):
        SpreadSkill([5], 4).update(torch.zeros(1, 3, 1, 1, 4, 5), torch.zeros(1, 1, 1, 4, 5))
