"""Trained: ensembles of a network that draws members, repeatable and of any size."""

from typing import Any

import pytest
import torch
from torch import nn

from nowcast import models
from nowcast.contracts import InputError
from nowcast.trained import Trained

INSIDE = {"name": "se_resunet", "width": 8, "depth": 1, "attention": None}
MEMBERS = {"name": "members", "network": INSIDE, "members": 3, "forecast_members": 4}
DRAWING = {"members": MEMBERS, "lagrangian of members": {"name": "lagrangian", "network": MEMBERS}}


def trained(spec: dict[str, Any], **options: Any) -> Trained:
    torch.manual_seed(0)
    network = models.create(spec, past_frames=3, steps=2)
    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    facts = {"past_frames": 3, "steps": 2, "step_s": 300, "pixel_m": 1000}
    return Trained(network.eval(), facts, {"network": {"class_path": "nowcast.models.Named"}}, "digest", **options)


@pytest.fixture
def past() -> torch.Tensor:
    torch.manual_seed(1)
    return 5 * torch.rand(2, 3, 1, 17, 22)


@pytest.mark.parametrize("key", DRAWING)
@pytest.mark.parametrize("members", [1, 3, 11])
def test_an_ensemble_has_as_many_different_members_as_asked_for(key: str, members: int, past: torch.Tensor) -> None:
    ensemble = trained(DRAWING[key]).ensemble(past, 2, members)
    assert ensemble.shape == (2, members, 2, 1, 17, 22)
    apart = [(one - other).abs().max() for k, one in enumerate(ensemble[0]) for other in ensemble[0, :k]]
    assert all(distance > 0.01 for distance in apart)
    assert len(apart) == members * (members - 1) // 2


@pytest.mark.parametrize("key", DRAWING)
def test_a_forecast_of_drawn_members_can_be_repeated(key: str, past: torch.Tensor) -> None:
    """By the same seed, alone or in a batch; the noise of everybody else goes on as if nothing had been drawn."""
    forecaster = trained(DRAWING[key])
    torch.manual_seed(5)
    ensemble = forecaster.ensemble(past, 2, 5)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    assert torch.equal(forecaster.ensemble(past, 2, 5), ensemble)
    torch.testing.assert_close(forecaster.ensemble(past[1:], 2, 5), ensemble[1:])
    other = trained(DRAWING[key], seed=1)
    assert (other.ensemble(past, 2, 5) - ensemble).abs().max() > 0.01
    assert other.describe()["seed"] == "1"


def test_probabilities_are_shares_of_the_members_it_is_set_to_draw(past: torch.Tensor) -> None:
    forecaster = trained(MEMBERS)
    ensemble = forecaster.ensemble(past, 2, 4)
    reached = forecaster.probability(past, 2, [1.0, 4.0])
    for number, rate in enumerate([1.0, 4.0]):
        torch.testing.assert_close(reached[:, :, number], (ensemble >= rate).float().mean(dim=1))
    assert reached.unique().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_members_of_a_network_that_draws_none_are_its_quantiles(past: torch.Tensor) -> None:
    forecaster = trained({"name": "quantiles", "network": INSIDE, "levels": 3})
    ensemble = forecaster.ensemble(past, 2, 5)
    assert (ensemble.diff(dim=1) >= 0).all()
    torch.testing.assert_close(ensemble[:, 2], forecaster.forecast(past, 2))
    assert "seed" not in forecaster.describe()


@pytest.mark.parametrize("members", [0, -1])
def test_an_ensemble_of_nobody_is_refused(members: int, past: torch.Tensor) -> None:
    for spec in (MEMBERS, {"name": "quantiles", "network": INSIDE}):
        with pytest.raises(InputError, match=f"at least 1 member, not {members}"):
            trained(spec).ensemble(past, 2, members)


def test_half_precision_is_close_and_says_so(past: torch.Tensor) -> None:
    forecaster = trained(INSIDE)
    whole = forecaster.forecast(past, 2)
    assert "precision" not in forecaster.describe()
    forecaster.precision = "bfloat16"
    half = forecaster.forecast(past, 2)
    assert forecaster.describe()["precision"] == "bfloat16"
    assert half.dtype == torch.float32
    assert not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, rtol=0.1, atol=0.05)
