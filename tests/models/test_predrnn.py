"""PredRNN-V2: the authors' size, zigzag memory, decoupling, reverse scheduled sampling."""

import pytest
import torch

from nowcast.attention.eca import EfficientChannelAttention
from nowcast.contracts import InputError
from nowcast.models.predrnn import PredRNN, chances


def small(**options: object) -> PredRNN:
    torch.manual_seed(0)
    return PredRNN(**{"past_frames": 4, "steps": 3, "width": 6, "layers": 2, "kernel": 3, "patch": 2, **options})


def test_it_has_as_many_parameters_as_in_the_benchmark() -> None:
    """23.9 million for PredRNN-V2 of 4 layers of 128 on patches of 4 (OpenSTL, docs/en/model_zoos)."""
    assert sum(weight.numel() for weight in PredRNN(10, 10).parameters()) == pytest.approx(23.9e6, rel=0.005)


def test_patches_come_back_to_where_they_were_cut() -> None:
    network = small(channels=3)
    frames = torch.rand(2, 5, 3, 7, 9)
    torch.testing.assert_close(network._joined(network._cut(frames), frames), frames)


def test_the_past_moved_by_whole_patches_moves_the_forecast() -> None:
    network = small(residual=False, past_frames=2, steps=2).double()
    past = torch.zeros(1, 2, 1, 96, 120, dtype=torch.float64)
    past[..., 40:52, 48:60] = torch.rand(1, 2, 1, 12, 12, dtype=torch.float64)
    inner = (..., slice(44, 56), slice(52, 68))
    torch.testing.assert_close(
        network(past.roll((4, 8), dims=(-2, -1)))[inner], network(past).roll((4, 8), dims=(-2, -1))[inner]
    )
    assert network(past)[inner].std() > 0


def test_memory_goes_up_the_layers_and_over_to_the_next_time() -> None:
    """With h, c and frames cut off from each other, only the zigzag can carry anything from one cell to the next."""
    network = small(past_frames=2, steps=1, residual=False)
    seen = []
    for cell in network.cells:

        def step(drive: torch.Tensor, state: tuple[torch.Tensor, ...]) -> object:
            seen.append(state[2].mean().item())
            one = torch.ones_like(state[2])
            return (0 * one, 0 * one, state[2] + one), (one, one)

        cell.step = step
    network(torch.rand(1, 2, 1, 8, 8))
    assert seen == [0, 1, 2, 3]


def known(network: PredRNN, past: torch.Tensor, future: torch.Tensor, progress: float) -> torch.Tensor:
    torch.manual_seed(3)
    return network.train_forward(past, future, progress)[0]


def test_at_the_end_of_training_it_trains_as_it_forecasts() -> None:
    network = small(residual=False)
    past, future = torch.rand(2, 4, 1, 8, 12), torch.rand(2, 3, 1, 8, 12)
    torch.testing.assert_close(known(network, past, future, 1.0), network(past))


def test_the_first_forecast_never_depends_on_the_future_and_none_on_its_own_truth() -> None:
    network = small(residual=False)
    past, future = torch.rand(8, 4, 1, 8, 12), torch.rand(8, 3, 1, 8, 12, requires_grad=True)
    for lead, expected in enumerate([[], [0], [0, 1]]):
        forecast = known(network, past, future, 0.0)[:, lead].sum()
        (gradient,) = torch.autograd.grad(forecast, future, allow_unused=True)
        depends = [] if gradient is None else gradient.abs().sum(dim=(0, 2, 3, 4)).nonzero().flatten().tolist()
        assert depends == expected


def test_at_the_start_about_half_of_past_frames_are_shown_and_at_the_end_all() -> None:
    network = small(past_frames=5, residual=False)
    past = torch.rand(40, 5, 1, 2, 2, requires_grad=True)
    for progress, share in [(0.0, 0.5), (1.0, 1.0)]:
        forecast = known(network, past, torch.rand(40, 3, 1, 2, 2), progress)
        (gradient,) = torch.autograd.grad(forecast.sum(), past)
        shown = gradient.abs().sum(dim=(2, 3, 4)) > 0
        assert shown[:, 0].all()  # there is nothing before it to forecast it from
        assert shown[:, 1:].float().mean().item() == pytest.approx(share, abs=0.12)


def test_sampling_follows_the_schedule_of_the_authors() -> None:
    """Their steps 0, 25,000, 30,000, 37,500 and 50,000 of 80,000."""
    assert chances(0) == chances(0.3) == (0.5, 0.5)
    past, future = chances(30 / 80)
    assert past == pytest.approx(1 - 0.5 / torch.e)
    assert future == pytest.approx(0.4)
    assert chances(37.5 / 80)[1] == pytest.approx(0.25)
    assert chances(50 / 80) == (1, 0)


def test_decoupling_is_the_mean_cosine_over_pixels() -> None:
    network = small(width=2)
    torch.nn.init.dirac_(network.adapter.weight)
    memory = torch.tensor([[[[3.0, 4.0]], [[1.0, 0.0]]]])
    far = torch.tensor([[[[-3.0, -4.0]], [[0.0, 2.0]]]])
    assert network._coupling([(memory, far)]).item() == pytest.approx(0.5)  # |−1| and 0
    assert network._coupling([(memory, far), (memory, memory)]).item() == pytest.approx(0.75)


def test_extra_losses_are_those_of_the_past_and_of_decoupling() -> None:
    """Untrained, each next frame is the frame seen; at the end of training those are the true ones."""
    network = small(decoupling=0.0)
    past, future = torch.rand(2, 4, 1, 8, 12), torch.rand(2, 3, 1, 8, 12)
    expected = (past[:, 1:] - past[:, :-1]).square().mean() * 3 / 3
    torch.testing.assert_close(network.train_forward(past, future, 1.0)[1], expected)
    network.decoupling = 2.0
    coupling = (network.train_forward(past, future, 1.0)[1] - expected) / 2
    assert 0 < coupling < 1


def test_training_reaches_every_weight() -> None:
    for outputs in (None, 3):
        network = small(residual=False, outputs=outputs)
        forecast, extra = network.train_forward(torch.rand(2, 4, 1, 8, 12), torch.rand(2, 3, 1, 8, 12), 0.5)
        (forecast.square().mean() + extra).backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_attention_stands_in_the_layer_that_the_config_names() -> None:
    network = small(attention=[None, "eca"], attention_on="gates", residual=False)
    found = [name for name, module in network.named_modules() if isinstance(module, EfficientChannelAttention)]
    assert found == ["cells.1.attend_gates"]
    network(torch.rand(1, 4, 1, 8, 12)).square().sum().backward()
    assert all(weight.grad.any() for weight in network.get_submodule(found[0]).parameters())


def test_weights_of_one_length_serve_another() -> None:
    network, longer = small(residual=False), small(residual=False, steps=5)
    torch.nn.init.normal_(longer.next_frame.weight)
    longer.load_state_dict(network.state_dict())
    past = torch.rand(1, 4, 1, 12, 16)
    torch.testing.assert_close(longer(past)[:, :3], network(past))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch": 0}, "patch of at least 1"),
        ({"attention": ["se"]}, "lists 1 stages"),
        ({"channels": 2, "outputs": 5}, "5 outputs of 2 channels"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**options)
