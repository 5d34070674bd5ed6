"""Quantiles, Bins and Members around a network: distributions come out, and what trains inside still trains."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nowcast import models
from nowcast.contracts import InputError
from nowcast.likelihoods import AlmostFairCRPS, Categorical, Ordinal, Pinball
from nowcast.losses import Loss
from nowcast.models.bins import Bins
from nowcast.models.members import Members
from nowcast.models.quantiles import Quantiles

INSIDE = {"name": "se_resunet", "width": 8, "depth": 1, "attention": None}
EDGES = (0.5, 1.0, 2.0, 5.0)
FIELDS = {"quantiles": 5, "bins": 5, "members": 4}


def small(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    own = {"quantiles": {"levels": 5}, "bins": {"edges": EDGES}, "members": {"forecast_members": 4, "members": 3}}
    return models.create({"name": name, "network": INSIDE, **own[name], **options}, past_frames=4, steps=3)


def tiny_windows() -> tuple[torch.Tensor, torch.Tensor]:
    """Two windows of rain with dry gaps that moves a pixel a frame, scaled."""
    torch.manual_seed(1)
    sky = nn.functional.avg_pool2d(torch.rand(2, 1, 28, 42), 5, 1)
    sky = (12 * (sky - 0.48)).clamp_min(0)
    frames = torch.stack([sky[..., 6 - k : 38 - k] for k in range(7)], dim=1)
    return frames[:, :4], frames[:, 4:]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1)])
def test_any_size_comes_out_with_an_axis_of_its_own(name: str, height: int, width: int) -> None:
    fields = small(name).eval()(torch.rand(2, 4, 1, height, width))
    assert fields.shape == (2, 3, FIELDS[name], height, width)
    assert fields.isfinite().all()


def test_quantiles_never_cross_whatever_the_network_makes() -> None:
    network = small("quantiles")
    fields = network.shaped(20 * torch.randn(2, 3, 5, 6, 7).bfloat16())
    assert fields.dtype == torch.float32
    assert (fields.diff(dim=2) >= 0).all()


def test_the_middle_quantile_is_what_the_network_makes_and_others_are_gaps_from_it() -> None:
    network = small("quantiles", levels=[0.1, 0.3, 0.6, 0.9])
    made = torch.randn(1, 1, 4, 1, 1)
    gap = nn.functional.softplus(made - made[:, :, 2:3] - 3).flatten()
    middle = made[0, 0, 2, 0, 0]
    expected = torch.stack([middle - gap[1] - gap[0], middle - gap[1], middle, middle + gap[3]])
    torch.testing.assert_close(network.shaped(made).flatten(), expected)


def test_untrained_the_median_is_persistence_with_a_narrow_spread() -> None:
    past = torch.rand(2, 4, 1, 13, 18)
    network = small("quantiles")
    fields = network(past)
    torch.testing.assert_close(network.output.median(fields), past[:, -1:].expand(-1, 3, -1, -1, -1))
    assert ((fields[:, :, -1:] - fields[:, :, :1]) < 0.25).all()


def test_untrained_all_bins_are_as_likely() -> None:
    network = small("bins")
    reached = network.output.exceedance(network(torch.rand(2, 4, 1, 13, 18)), EDGES)
    expected = torch.tensor([0.8, 0.6, 0.4, 0.2])[:, None, None].expand_as(reached)
    torch.testing.assert_close(reached, expected)


def test_untrained_all_members_are_persistence() -> None:
    past = torch.rand(2, 4, 1, 13, 18)
    torch.testing.assert_close(small("members")(past), past[:, -1:].expand(-1, 3, 3, -1, -1))


def woken(name: str, **options: object) -> nn.Module:
    """A network whose last layer is not zero."""
    network = small(name, **options)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network


def test_members_are_draws_that_a_seed_repeats() -> None:
    network, past = woken("members"), torch.rand(2, 4, 1, 13, 18)
    torch.manual_seed(5)
    first, second = network(past), network(past)
    torch.manual_seed(5)
    torch.testing.assert_close(network(past), first, rtol=0, atol=0)
    for one, other in [(first[:, :, 0], first[:, :, 1]), (first, second)]:
        assert (one - other).abs().mean() > 1e-3


def test_as_many_members_as_asked_for_whatever_is_made_at_once() -> None:
    network, past = woken("members"), torch.rand(2, 4, 1, 9, 11)
    assert network.train()(past).shape[2] == 3
    assert network.eval()(past).shape[2] == 4
    assert network.eval()(past, 8).shape == (2, 3, 8, 9, 11)
    means = woken("members", grains=[1])(past.expand(-1, -1, -1, 9, 11), 1)
    assert means.shape[2] == 1


def test_members_of_a_sample_see_its_past_and_no_other() -> None:
    """Gradients tell: member m of sample b depends on the past of b alone."""
    network = woken("members")
    past = torch.rand(3, 4, 1, 9, 11, requires_grad=True)
    network(past, 2)[1].sum().backward()
    assert past.grad[1].abs().sum() > 0
    assert (past.grad[[0, 2]] == 0).all()


@pytest.mark.parametrize("grain", [1, 4])
def test_noise_is_standard_normal_in_cells_of_its_grain(grain: int) -> None:
    torch.manual_seed(0)
    network = small("members", grains=[grain])
    seen: list[torch.Tensor] = []
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    past = torch.rand(2, 4, 1, 62, 81)
    network(past)
    rain, noise = seen[0].split(1, dim=2)
    torch.testing.assert_close(rain, past.repeat_interleave(3, dim=0))
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    inside = noise.diff(dim=-1)
    crossed = torch.arange(1, 81) % grain == 0
    assert (inside[..., crossed] != 0).all()
    assert (inside[..., ~crossed] == 0).all()
    assert len(noise[:, :, 0, 0, 0].unique()) == 6 * 4


LEARNING: dict[str, tuple[str, Loss]] = {
    "pinball": ("quantiles", Pinball(5)),
    "categorical": ("bins", Categorical(EDGES)),
    "ordinal": ("bins", Ordinal(EDGES)),
    "crps": ("members", AlmostFairCRPS()),
}


@pytest.mark.parametrize("case", LEARNING)
def test_each_overfits_two_windows(case: str) -> None:
    name, loss = LEARNING[case]
    network, (past, future) = small(name), tiny_windows()
    known = torch.ones_like(future, dtype=torch.bool)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    values = []
    for _ in range(150):
        optimiser.zero_grad()
        value = loss(network(past), future, known)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert sum(values[-5:]) / 5 < values[0] / 5


@pytest.mark.parametrize("name", FIELDS)
def test_weights_come_back_and_compiling_changes_nothing(name: str) -> None:
    past = torch.rand(2, 4, 1, 12, 15)
    network, other = woken(name), small(name)
    other.load_state_dict(network.state_dict())
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    made: list[torch.Tensor] = []
    for each in (network, other, compiled):
        torch.manual_seed(3)
        made.append(each(past))
    torch.testing.assert_close(made[1], made[0], rtol=0, atol=0)
    torch.testing.assert_close(made[2], made[0])


class Teaching(nn.Module):
    """Trains otherwise than it forecasts: sees the future and adds a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def train_forward(
        self, past: torch.Tensor, future: torch.Tensor, progress: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weight * future, self.weight * progress


@pytest.mark.parametrize("name", FIELDS)
def test_training_inside_goes_on_as_it_would(name: str) -> None:
    network = small(name, **({"levels": 1} if name == "quantiles" else {}))
    past, future = torch.rand(2, 4, 1, 9, 11), torch.rand(2, 3, 1, 9, 11)
    torch.manual_seed(2)
    forecast, extra = network.train_forward(past, future, 0.25)
    torch.manual_seed(2)
    torch.testing.assert_close(forecast, network(past))
    assert extra.item() == 0
    network.network = Teaching()
    taught, extra = network.train_forward(past, future, 0.25)
    assert extra.item() == 0.25
    torch.testing.assert_close(taught[:, :, :1], future)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Quantiles(4, 3, channels=2), "Quantiles forecasts the distribution of one channel, not of 2"),
        (lambda: Bins(4, 3, network="se_resnet"), "did you mean se_resunet"),
        (lambda: Members(4, 3, members=0), "at least 1, not 0"),
        (lambda: Members(4, 3, grains=[]), "grains of at least 1"),
        (lambda: Quantiles(4, 3, levels=[0.5, 0.4]), "must rise"),
    ],
)
def test_what_cannot_be_is_said(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
