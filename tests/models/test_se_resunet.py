"""SE-ResUNet: any size, persistence at the start, attention where it was asked for, learns motion."""

import pytest
import torch

from nowcast import attention
from nowcast.attention.cbam import ConvolutionalBlockAttention
from nowcast.attention.eca import EfficientChannelAttention
from nowcast.attention.se import SqueezeExcitation
from nowcast.contracts import InputError
from nowcast.losses import MAE
from nowcast.models.se_resunet import SEResUNet
from tests.attention.table import CASES


def small(**options: object) -> SEResUNet:
    torch.manual_seed(0)
    return SEResUNet(**{"past_frames": 3, "steps": 5, "width": 8, "depth": 2, **options})


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (5, 40), (1, 1)])
def test_any_size_goes_in_and_comes_out(height: int, width: int) -> None:
    forecast = small(residual=False)(torch.rand(2, 3, 1, height, width))
    assert forecast.shape == (2, 5, 1, height, width)
    assert forecast.isfinite().all()


def test_a_narrow_one_takes_a_single_pixel_at_its_bottleneck() -> None:
    assert small(width=4, depth=1, residual=False)(torch.rand(1, 3, 1, 2, 2)).isfinite().all()


def test_untrained_it_is_persistence() -> None:
    past = torch.rand(2, 3, 2, 13, 18)
    forecast = small(channels=2)(past)
    torch.testing.assert_close(forecast, past[:, -1:].expand_as(forecast))


def test_channels_and_lead_times_are_not_interchanged() -> None:
    """Channel c of lead time t comes from output t·C + c: writing one bias must change one field."""
    network = small(channels=2)
    with torch.no_grad():
        network.head.bias[2 * 2 + 1] = 1.0
    change = network(torch.zeros(1, 3, 2, 8, 8))
    assert change[0, 2, 1].eq(1).all()
    assert change.sum() == 64


@pytest.mark.parametrize("height", [16, 17])
def test_padding_is_cut_off_where_it_was_added(height: int) -> None:
    """Local changes stay where they are: the corner of the forecast answers to the corner of the past."""
    network = small(residual=False, attention=None).double().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x  # statistics of the whole map would couple everything
    past = torch.rand(1, 3, 1, height, 64, dtype=torch.float64)
    nudged = past.clone()
    nudged[..., 0, 0] += 1
    change = (network(nudged) - network(past)).abs().sum(dim=(0, 1, 2))
    assert change[0, 0] > 0
    assert change[:, 40:].max() == 0


def test_samples_of_a_batch_do_not_mix() -> None:
    network = small(residual=False).eval()
    past = torch.rand(3, 3, 1, 12, 20)
    torch.testing.assert_close(network(past)[1:2], network(past[1:2]), rtol=1e-4, atol=1e-5)


MAP_ATTENTION = [name for name in attention.names() if attention.card(name).shape == "BCHW"]


@pytest.mark.parametrize("name", [None, *MAP_ATTENTION])
def test_a_step_with_any_attention_is_finite_and_reaches_every_weight(name: str | None) -> None:
    spec = name and {"name": name, **CASES[name].options}
    network = small(width=16, depth=1, attention=spec, residual=False)
    for ending in CASES[name].zero_start or () if name else ():
        for key, weight in network.named_parameters():
            if f".{key}".endswith(f".{ending}"):
                torch.nn.init.uniform_(weight, 0.5, 1.0)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    loss = MAE()(network(torch.rand(2, 3, 1, 16, 16)), torch.rand(2, 5, 1, 16, 16), torch.ones(2, 5, 1, 16, 16).bool())
    loss.backward()
    still = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []
    optimiser.step()
    assert loss.isfinite()
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_attention_stands_where_the_config_puts_it() -> None:
    spec = [None, "se", {"name": "cbam", "kernel": 3}, ["eca", "se"], None]
    network = small(attention=spec)
    kinds = (SqueezeExcitation, EfficientChannelAttention, ConvolutionalBlockAttention)
    found = [
        [type(module) for module in stage.modules() if isinstance(module, kinds)]
        for stage in [*network.down, *network.up]
    ]
    assert found == [
        [],
        [SqueezeExcitation],
        [ConvolutionalBlockAttention],
        [EfficientChannelAttention, SqueezeExcitation],
        [],
    ]
    assert network.down[2][0].branch[-1].gates["spatial"].conv.kernel_size == (3, 3)


def test_attention_stands_beside_where_the_config_puts_it() -> None:
    """What the gate lets through goes to the decoder alone: a shut one leaves the bottleneck as it was."""
    network = small(skip_attention=["se", None], residual=False)
    assert [type(module) for module in network.skips] == [SqueezeExcitation, torch.nn.Identity]
    seen: dict[str, torch.Tensor] = {}
    network.down[-1].register_forward_hook(lambda module, inputs, output: seen.update(bottleneck=output))
    network.up[-1].register_forward_hook(lambda module, inputs, output: seen.update(joined=inputs[0]))
    past = torch.rand(1, 3, 1, 16, 24)
    network(past)
    before = dict(seen)
    network.skips[0].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    network(past)
    torch.testing.assert_close(seen["bottleneck"], before["bottleneck"])
    torch.testing.assert_close(seen["joined"][:, :16], before["joined"][:, :16])
    assert before["joined"][:, 16:].any()
    assert not seen["joined"][:, 16:].any()
    with pytest.raises(InputError, match="lists 3 stages, the network has 2"):
        small(skip_attention=["se", None, None])


def test_a_wrong_number_of_stages_or_name_is_said() -> None:
    with pytest.raises(InputError, match="lists 2 stages, the network has 5"):
        small(attention=["se", "se"])
    with pytest.raises(InputError, match="did you mean cbam"):
        small(attention="cbma")
    with pytest.raises(InputError, match="has no option 'ratio'; its options are: reduction"):
        small(attention={"name": "se", "ratio": 4})


def test_it_learns_to_move_rain() -> None:
    """On rain that moves one pixel a frame it must come to beat persistence, which untrained it is."""
    torch.manual_seed(0)
    network = small(steps=2, width=8)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    sky = torch.nn.functional.avg_pool2d(torch.rand(8, 1, 40, 60), 5, 1)
    sky = (sky - 0.5).clamp_min(0) * 8

    def window(samples: slice, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames = torch.stack([sky[samples, :, :32, 8 + shift - k : 40 + shift - k] for k in range(5)], dim=1)
        return frames[:, :3], frames[:, 3:]

    for step in range(60):
        past, future = window(slice(0, 7), step % 8)
        loss = MAE()(network(past), future, torch.ones_like(future, dtype=torch.bool))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    past, future = window(slice(7, 8), 3)
    with torch.no_grad():
        error = (network(past) - future).abs().mean()
    assert error < 0.7 * (past[:, -1:] - future).abs().mean()
