"""CRPS: hand-computed and closed forms, and the libraries scores and xskillscore."""

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.verification import Bins, Continuous, Crps, Members, Quantiles
from tests.verification.conftest import Rain

NAN = float("nan")


def one(of, fields: list[float], observed: float) -> float:
    """Of one pixel."""
    score = Crps([5], of)
    shape = (1, len(fields), 1, 1, 1, 1) if isinstance(of, Members) else (1, 1, len(fields), 1, 1, 1)
    score.update(torch.tensor(fields).reshape(shape), torch.tensor(observed).reshape(1, 1, 1, 1, 1))
    return score.compute().crps.item()


def array(field: torch.Tensor, dims: str) -> xr.DataArray:
    """As float64, a letter for each dimension."""
    return xr.DataArray(field.double().numpy(), dims=tuple(dims))


def ensemble(rain: Rain, members: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """The forecast disturbed by a factor for each member, so that dry pixels tie and gaps stay."""
    random = np.random.default_rng(7)
    shape = rain.forecast.shape
    factors = random.gamma(2, 0.5, (shape[0], members, *shape[1:])).astype(np.float32)
    fields = rain.forecast[:, None] * factors
    fields[:, 1, :, :, 3, 4] = NAN  # one member alone is missing
    return torch.from_numpy(fields), torch.from_numpy(rain.observed)


def test_ties_of_dry_members_are_scored_as_by_hand() -> None:
    """Members 0, 0, 3 against 0: ⟨|x − y|⟩ = 1; pairs differ by 0, 3, 3, whose mean halved is 1."""
    assert one(Members(), [0, 0, 3], 0) == 0
    assert one(Members(), [0, 0, 3], 2) == pytest.approx((2 + 2 + 1) / 3 - 1)
    assert one(Members(), [4, 4], 1) == 3


def test_the_fair_score_does_not_favour_large_ensembles() -> None:
    """For members and observation uniform in 0–1 the expectation is 1/6 for any number of members."""
    random = np.random.default_rng(0)
    for members in (2, 3, 8):
        fields = torch.from_numpy(random.random((20, members, 1, 1, 60, 70)))
        score = Crps([5], Members())
        score.update(fields, torch.from_numpy(random.random((20, 1, 1, 60, 70))))
        assert score.compute().crps.item() == pytest.approx(1 / 6, abs=2e-3)


@pytest.mark.parametrize("pixels", ["observed", "common"])
def test_members_are_scored_as_by_scores(rain_pair: Rain, pixels: str) -> None:
    from scores.probability import crps_for_ensemble

    members, observed = ensemble(rain_pair)
    ours = Crps([10, 20], Members(), pixels)
    ours.update(members, observed)
    filled = members.nan_to_num() if pixels == "observed" else members
    fcst, obs = array(filled, "bmtcyx"), array(observed, "btcyx")
    known = obs.notnull() & fcst.notnull().all("m")
    theirs = crps_for_ensemble(fcst.where(known), obs.where(known), "m", method="fair", preserve_dims="t")
    np.testing.assert_allclose(ours.compute().crps.values, theirs.values, atol=1e-6)
    missing = (members.isnan().any(dim=1) & ~observed.isnan()).sum((0, 2, 3, 4)) / (~observed.isnan()).sum((0, 2, 3, 4))
    np.testing.assert_allclose(ours.compute().crps_missing_share.values, missing.numpy(), rtol=1e-6)


def test_equally_likely_quantiles_are_scored_as_members_of_xskillscore(rain_pair: Rain) -> None:
    """The quantiles at (k − ½) / K are K members, not fair."""
    xskillscore = pytest.importorskip("xskillscore")
    members, observed = ensemble(rain_pair)
    quantiles = members.nan_to_num().sort(dim=1).values
    ours = Crps([10, 20], Quantiles((0.1, 0.3, 0.5, 0.7, 0.9)))
    ours.update(quantiles.transpose(1, 2), observed)
    fcst, obs = array(quantiles, "bmtcyx"), array(observed, "btcyx")
    theirs = xskillscore.crps_ensemble(obs, fcst, member_dim="m", dim=[]).mean(list("bcyx"))
    np.testing.assert_allclose(ours.compute().crps.values, theirs.values, atol=1e-6)


def test_quantiles_at_any_level_are_scored_by_the_loss_of_scores(rain_pair: Rain) -> None:
    from scores.continuous import quantile_score

    levels, weights = (0.05, 0.5, 0.9), (0.275, 0.425, 0.3)  # borders halfway: 0, 0.275, 0.7, 1
    members, observed = ensemble(rain_pair, 3)
    quantiles = members.nan_to_num().sort(dim=1).values
    ours = Crps([10, 20], Quantiles(levels))
    ours.update(quantiles.transpose(1, 2), observed)
    obs = array(observed, "btcyx")
    theirs = sum(
        2 * weight * quantile_score(array(quantiles[:, k], "btcyx"), obs, level, preserve_dims=["t"])
        for k, (level, weight) in enumerate(zip(levels, weights, strict=True))
    )
    np.testing.assert_allclose(ours.compute().crps.values, theirs.values, atol=1e-6)


def test_bins_are_scored_as_the_distribution_function_by_scores(rain_pair: Rain) -> None:
    from scores.probability import crps_cdf

    edges = (0.0, 0.2, 1.0, 5.0, 300.0)
    random = np.random.default_rng(5)
    observed = rain_pair.tensors[1][:1, :, :1, ::2, ::2]  # its exact integration takes long
    odds = torch.from_numpy(random.dirichlet([1, 0.5, 0.5, 0.1], observed.shape))  # bins last
    ours = Crps([10, 20], Bins(edges))
    ours.update(odds.movedim(-1, 2), observed)
    below = np.pad(odds.cumsum(dim=-1).clamp_max(1).numpy(), [(0, 0)] * 5 + [(1, 0)])
    cdf = xr.DataArray(below, dims=(*"btcyx", "rate"), coords={"rate": list(edges)})
    theirs = crps_cdf(cdf, array(observed, "btcyx"), threshold_dim="rate", preserve_dims=["t"]).total
    np.testing.assert_allclose(ours.compute().crps.values, theirs.values, atol=1e-6)


def test_a_bin_is_an_even_spread_and_beyond_the_edges_distance_counts() -> None:
    """Uniform in 1–3: (s³ + (1 − s)³) / 3 times 2 with s the share below; 1 further off costs 1 more."""
    assert one(Bins((1.0, 3.0)), [1.0], 1.5) == pytest.approx(2 * (0.25**3 + 0.75**3) / 3)
    assert one(Bins((1.0, 3.0)), [1.0], 3.0) == pytest.approx(2 / 3)
    assert one(Bins((1.0, 3.0)), [1.0], 4.0) == pytest.approx(2 / 3 + 1)
    assert one(Bins((1.0, 3.0)), [1.0], 0.0) == pytest.approx(2 / 3 + 1)
    assert one(Bins((0.0, 1, 2, 4)), [0.0, 1, 0], 3.0) == pytest.approx(1 / 3 + 1)


def test_a_distribution_without_one_of_its_fields_is_missing_as_a_whole() -> None:
    assert one(Bins((0.0, 1, 2)), [NAN, 0.5], 1.5) == one(Bins((0.0, 1, 2)), [1.0, 0.0], 1.5)
    assert one(Quantiles((0.2, 0.8)), [NAN, 3.0], 2.0) == one(Quantiles((0.2, 0.8)), [0.0, 0.0], 2.0) == 2
    assert one(Members(), [NAN, 3.0], 2.0) == one(Members(), [0.0, 3.0], 2.0) != 2, "members are missing one by one"


def test_a_certain_distribution_is_scored_by_its_mean_absolute_error(rain_pair: Rain) -> None:
    forecast, observed = rain_pair.tensors
    mae = Continuous([10, 20])
    mae.update(forecast, observed)
    members, quantiles = Crps([10, 20], Members()), Crps([10, 20], Quantiles((0.5,)))
    members.update(torch.stack([forecast] * 3, dim=1), observed)
    quantiles.update(forecast.unsqueeze(2), observed)
    for score in (members, quantiles):
        np.testing.assert_allclose(score.compute().crps.values, mae.compute().mae.values)


@pytest.mark.parametrize(
    ("of", "fields", "message"),
    [
        (Members(), [1.0], "two members at least"),
        (Bins((0.0, 1, 2)), [0.7, 0.7], "add up to 1"),
        (Bins((0.0, 1, 2)), [1.5, -0.5], "not be negative"),
        (Bins((0.0, 1, 2)), [1.0], "lead times take forecasts"),
        (Quantiles((0.1, 0.9)), [1.0], "lead times take forecasts"),
    ],
)
def test_fields_that_are_no_distribution_are_refused(of, fields: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        one(of, fields, 1.0)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (Quantiles, (0.0, 0.5)),
        (Quantiles, (0.5, 1.0)),
        (Quantiles, (0.5, 0.1)),
        (Quantiles, ()),
        (Bins, (1.0,)),
        (Bins, (1.0, 0.0)),
    ],
)
def test_impossible_levels_and_edges_are_refused(make, values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"must be|need"):
        make(values)
