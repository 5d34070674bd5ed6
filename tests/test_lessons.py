"""Lessons: what a loss compares, and networks that see more than they forecast."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nowcast import models
from nowcast.contracts import InputError
from nowcast.lessons import centre, lesson, whole
from nowcast.models.metnet import MetNet


class Neighbourhood(nn.Module):
    """The mean of the last frame over 5×5 pixels, where all of them are seen."""

    margin = 2

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(past[:, -1], 5, 1)[:, None]


def metnet(margin: int) -> MetNet:
    torch.manual_seed(0)
    network = MetNet(3, 2, widths=(6,), hidden=8, blocks=1, margin=margin)
    nn.init.normal_(network.head.weight, std=0.3)
    return network


@pytest.fixture
def past() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, 1, 20, 27)


def test_a_loss_compares_the_centre_that_is_forecast(past: torch.Tensor) -> None:
    target = torch.rand(2, 1, 1, 20, 27)
    forecast, wanted, known, extra = lesson(Neighbourhood(), past, target, target > 0.3, 0.0)
    torch.testing.assert_close(forecast[1, 0, 0, 4, 7], past[1, -1, 0, 4:9, 7:12].mean())
    assert torch.equal(wanted, target[..., 2:-2, 2:-2])
    assert torch.equal(known, wanted > 0.3)
    assert extra == 0


def test_without_a_margin_all_is_compared(past: torch.Tensor) -> None:
    known = past > 0.5
    forecast, target, compared, _ = lesson(nn.Identity(), past, past, known, 0.0)
    assert forecast is past
    assert torch.equal(target, past)
    assert torch.equal(compared, known)


def test_a_whole_frame_is_forecast_and_its_centre_is_the_forecast_of_the_frame_as_a_patch(past: torch.Tensor) -> None:
    network = Neighbourhood()
    forecast = whole(network, past)
    assert forecast.shape == (2, 1, 1, 20, 27)
    torch.testing.assert_close(centre(forecast, 2), network(past))
    torch.testing.assert_close(forecast[0, 0, 0, 0, 0], past[0, -1, 0, :3, :3].sum() / 25)  # dry outside


def test_metnet_forecasts_the_centre_of_a_patch_with_a_dry_rim_as_a_whole_frame(past: torch.Tensor) -> None:
    """Its norms and its attention see the whole patch, so only where the rim is dry are the two the same."""
    network = metnet(margin=4)
    patch = past * F.pad(torch.ones(12, 19), [4] * 4)
    torch.testing.assert_close(whole(network, centre(patch, 4)), network(patch), rtol=0, atol=0)
    assert (network(past) - network(patch)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["quantiles", "bins", "members"])
def test_a_distribution_has_the_margin_of_the_network_inside(name: str, past: torch.Tensor) -> None:
    inside = {"name": "metnet", "widths": [6], "hidden": 8, "blocks": 1, "margin": 4}
    network = models.create({"name": name, "network": inside}, past_frames=3, steps=2)
    forecast, target, _, _ = lesson(network, past, past[:, :2], past[:, :2] > 0, 0.0)
    assert forecast.shape[-2:] == target.shape[-2:] == (12, 19)
    assert whole(network, past).shape[-2:] == (20, 27)


def test_rain_that_is_moved_has_no_margin() -> None:
    with pytest.raises(InputError, match="leaves out a margin of 4 pixels; set its margin to 0"):
        models.create({"name": "lagrangian", "network": {"name": "metnet", "margin": 4}}, past_frames=3, steps=2)
