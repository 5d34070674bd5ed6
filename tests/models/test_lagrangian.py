"""The Lagrangian network: untrained it is extrapolation, what it learns moves with the rain, borders invent nothing."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from nowcast import baselines, models
from nowcast.contracts import InputError
from nowcast.models.lagrangian import Lagrangian
from nowcast.scaling import HIGHEST_RATE, scale
from tests.conftest import moving_rain
from tests.motion.rain import moving

INNER = {"name": "se_resunet", "width": 8, "depth": 2}


def small(**options: Any) -> Lagrangian:
    torch.manual_seed(0)
    return Lagrangian(**{"past_frames": 3, "steps": 5, "network": INNER, **options})


def nudged(network: Lagrangian) -> Lagrangian:
    """With weights that are zero at the start moved away from it."""
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return network


def shower(down: float = 1.0, right: float = 2.0, frames: int = 3, **options: Any) -> torch.Tensor:
    """(1, frames, 1, H, W), scaled."""
    return moving(down, right, **{"height": 48, "width": 64, "frames": frames, **options}).unsqueeze(2)


@pytest.mark.parametrize("refine", [False, True])
def test_untrained_it_is_the_extrapolation_of_the_baseline(refine: bool) -> None:
    past = torch.from_numpy(moving_rain(height=72, width=96, frames=3).rain_rate.values).nan_to_num(0.0)[None, :, None]
    expected, known = scale(baselines.create("lagrangian_persistence").forecast(past, 5))
    forecast = small(refine=refine)(scale(past)[0])
    assert 0.7 < known.float().mean() < 1
    torch.testing.assert_close(forecast[known], expected[known], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (5, 40), (1, 1)])
@pytest.mark.parametrize("refine", [False, True])
def test_any_size_goes_in_and_comes_out(height: int, width: int, refine: bool) -> None:
    forecast = nudged(small(channels=2, refine=refine))(torch.rand(2, 3, 2, height, width))
    assert forecast.shape == (2, 5, 2, height, width)
    assert forecast.isfinite().all()


def test_aligned_rain_stands_still() -> None:
    past = shower()
    aligned, motion = small().align(past)
    torch.testing.assert_close(motion.mean(dim=(2, 3)), torch.tensor([[1.0, 2.0]]), atol=0.05, rtol=0)
    moved, left = ((frames[:, :2] - past[:, -1:]).abs().mean() for frames in (past, aligned))
    assert left < 0.05 * moved


def test_growth_that_the_network_inside_says_is_carried_to_where_the_rain_will_be() -> None:
    network = small(network={**INNER, "residual": False})
    spot = torch.zeros(1, 5, 1, 48, 64)
    spot[..., 20, 30] = 1.0
    network.network.forward = lambda past: spot
    forecast = network(shower())[0, :, 0]
    rows, columns = torch.arange(48.0)[:, None], torch.arange(64.0)
    for lead, field in enumerate(forecast, start=1):
        assert (field * rows).sum() / field.sum() == pytest.approx(20 + lead, abs=0.3)
        assert (field * columns).sum() / field.sum() == pytest.approx(30 + 2 * lead, abs=0.5)


def test_truth_brought_to_the_present_is_what_the_present_is() -> None:
    frames = shower(frames=8)
    network = small()
    fields, motion = network.evolution(frames[:, :3])
    truth, inside = network.to_present(frames[:, 3:], motion)
    assert inside.float().mean() > 0.7
    difference = ((truth - fields).abs() * inside).mean()
    assert difference < 0.1 * (frames[:, 3:] - frames[:, 2:3]).abs().mean()
    torch.testing.assert_close(network.carry(fields, motion), network(frames[:, :3]))


def test_no_change_is_seen_where_earlier_air_was_not_observed() -> None:
    """Air at the left and upper edges was outside: earlier frames repeat there what the next one had."""
    past = shower(down=0.0, right=3.0)
    aligned, _ = small().align(past)
    outside = aligned[..., :2]
    torch.testing.assert_close(outside, past[:, -1:, ..., :2].expand_as(outside))
    assert past[:, -1, ..., :2].std() > 0.1


def test_what_comes_from_beyond_the_edge_is_the_edge_or_nothing() -> None:
    past = shower(down=0.0, right=3.0)
    border, zeros = small()(past), small(beyond="zeros")(past)
    arrived = (..., slice(0, 48), slice(0, 6))
    assert not zeros[:, 2][arrived].any()
    assert border[:, 2][arrived].mean() > 0.5 * past[:, -1, ..., :1].mean()
    torch.testing.assert_close(zeros[..., 20:], border[..., 20:])


def test_a_refined_motion_learns_from_the_forecast_alone() -> None:
    """The flow is stubbed to see no motion: the residual must find it, while the network inside is still."""
    torch.manual_seed(0)
    network = Lagrangian(3, 2, network=INNER, refine=True)
    frames = shower(down=0.0, right=1.0, frames=5)
    optimiser = torch.optim.Adam(network.refinement.parameters(), lr=3e-3)
    still = torch.zeros(1, 2, 48, 64)

    def loss() -> torch.Tensor:
        motion = still + network.refinement(frames[:, :3], still)
        return F.mse_loss(network.carry(frames[:, 2:3].expand(-1, 2, -1, -1, -1), motion), frames[:, 3:])

    before = loss().item()
    for _ in range(60):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss() < 0.1 * before
    assert network.refinement(frames[:, :3], still)[:, 1].mean().item() == pytest.approx(1.0, abs=0.3)


def test_every_weight_learns() -> None:
    network = nudged(small(refine=True, network={**INNER, "attention": "eca"}))
    F.mse_loss(network(shower()), torch.rand(1, 5, 1, 48, 64)).backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


def test_it_learns_decay_by_heart() -> None:
    torch.manual_seed(0)
    network = Lagrangian(4, 3, network=INNER)
    frames = torch.cat([shower(frames=7, seed=seed) for seed in (1, 2)])
    frames = frames * torch.tensor([1.0] * 4 + [0.8, 0.6, 0.4]).view(1, 7, 1, 1, 1)
    past, future = frames[:, :4], frames[:, 4:]
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = F.mse_loss(network(past), future)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if loss < losses[0] / 10:
            return
    pytest.fail(f"from {losses[0]:.4f} to {losses[-1]:.4f} in 150 steps")


def test_samples_of_a_batch_do_not_mix() -> None:
    network = nudged(small(refine=True))
    past = torch.cat([shower(), shower(-1.0, 0.5, seed=1), shower(2.0, 0.0, seed=2)])
    torch.testing.assert_close(network(past)[1:2], network(past[1:2]), rtol=1e-3, atol=1e-4)


def test_motion_is_that_of_the_first_channel() -> None:
    past = shower()
    network = small(channels=2)
    both = torch.cat([past, torch.rand_like(past)], dim=2)
    torch.testing.assert_close(network.align(both)[1], small().align(past)[1])
    torch.testing.assert_close(network(both)[:, :, :1], small()(past))


def test_a_distribution_inside_stays_one_and_moves() -> None:
    network = small(network={"name": "quantiles", "levels": 3, "network": INNER})
    past = shower()
    forecast = network(past)
    most = float(scale(torch.tensor(HIGHEST_RATE))[0])
    torch.testing.assert_close(network.output.median(forecast), small()(past).clamp(0, most))
    assert (forecast.diff(dim=2) > 0).all()


def test_what_the_network_inside_adds_to_the_loss_is_passed_on() -> None:
    """It is shown the future where it forecasts it: at the places of the present."""
    frames = shower(frames=8)
    network = small()
    seen = {}

    def train_forward(past: torch.Tensor, future: torch.Tensor, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
        seen.update(future=future, progress=progress)
        return network.network(past), torch.tensor(7.0)

    network.network.train_forward = train_forward
    forecast, extra = network.train_forward(frames[:, :3], frames[:, 3:], 0.25)
    torch.testing.assert_close(forecast, network(frames[:, :3]))
    inner = (..., slice(8, -8), slice(12, -12))
    assert (seen["future"] - frames[:, 2:3])[inner].abs().mean() < 0.1 * (frames[:, 3:] - frames[:, 2:3])[
        inner
    ].abs().mean()
    assert (seen["progress"], extra.item()) == (0.25, 7.0)


@pytest.mark.parametrize("refine", [False, True])
def test_half_precision_moves_rain_as_far(refine: bool) -> None:
    network, past = small(refine=refine), shower()
    full = network(past)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(past).float(), full, rtol=1e-5, atol=1e-5)
    brain = copy.deepcopy(network).bfloat16()(past.bfloat16())
    assert brain.dtype == torch.bfloat16
    assert (brain.float() - full).abs().mean() < 0.01 * full.mean()


def test_compiled_it_is_the_same() -> None:
    network, past = nudged(small(past_frames=2, steps=2, refine=True)), shower(frames=2, height=20, width=28)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(past), network(past), rtol=1e-4, atol=1e-5)


def test_its_state_is_all_there_is() -> None:
    network, past = nudged(small(refine=True)), shower()
    other = small(refine=True)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(past), network(past), rtol=0, atol=0)


def test_it_is_built_by_name_and_refuses_a_past_without_motion() -> None:
    built = models.create({"name": "lagrangian", "network": INNER}, past_frames=3, steps=5, outputs=4)
    assert built(shower()).shape == (1, 5, 4, 48, 64)
    with pytest.raises(InputError, match="at least 2 past frames"):
        Lagrangian(1, 5)
    with pytest.raises(InputError, match="did you mean se_resunet"):
        Lagrangian(3, 5, network="se_resnet")


def test_a_lesson_compares_at_the_places_of_the_present() -> None:
    """Rain that only moves is, seen from the present, the last frame again at every lead time."""
    frames = shower(frames=8)
    past, future = frames[:, :3], frames[:, 3:]
    forecast, target, known, extra = small().lesson(past, future, torch.ones_like(future, dtype=torch.bool), 0.0)
    assert 0.7 < known.float().mean() < 1
    assert (target - past[:, -1:])[known].abs().mean() < 0.1 * (future - past[:, -1:]).abs().mean()
    torch.testing.assert_close(forecast, past[:, -1:].expand_as(forecast))
    assert extra == 0


def test_a_lesson_leaves_out_all_that_is_made_of_unknown_pixels() -> None:
    frames = shower(frames=8)
    past, future = frames[:, :3], frames[:, 3:].clone()
    known = torch.ones_like(future, dtype=torch.bool)
    known[..., 20:24, 30:36] = False
    future[~known] = 1e6
    _, target, known, _ = small().lesson(past, future, known, 0.0)
    assert known.any()
    assert target[known].max() < 1e3
