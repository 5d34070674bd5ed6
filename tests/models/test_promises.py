"""What every network promises: any size, persistence at the start, attention by name, that it learns and survives.

One entry a network; what only one of them promises stands in its own file.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nowcast import models
from nowcast.contracts import InputError
from nowcast.lessons import train_forward

# Small ones, with a name where there are several of a kind: (network, options).
SMALL: dict[str, tuple[str, Mapping[str, Any]]] = {
    "se_resunet": ("se_resunet", {"width": 8, "depth": 2}),
    "smaat_unet": ("smaat_unet", {"width": 8, "depth": 2}),
    "rainnet": ("rainnet", {"width": 8, "depth": 2, "dropout": 0.0}),
    "simvp gsta": ("simvp", {"width": 8, "hidden": 16, "blocks": 2}),
    "simvp inception": ("simvp", {"width": 8, "hidden": 16, "blocks": 2, "translator": "inception"}),
    "earthformer axial": ("earthformer", {"stem": [(2, 8)], "blocks": [1, 1], "heads": 2}),
    "earthformer divided": ("earthformer", {"stem": [(2, 16)], "blocks": [1], "vectors": 0, "pattern": "divided"}),
    "earthformer local": ("earthformer", {"stem": [(2, 16)], "blocks": [1], "pattern": "local_dilated"}),
    "earthformer shifted": ("earthformer", {"stem": [(2, 16)], "blocks": [1], "pattern": "shifted"}),
    **{
        f"convlstm {name}": ("convlstm", {"cell": cell, "widths": (8, 12), "strides": (2, 2), "stem": 8})
        for name, cell in {
            "conv_lstm": "conv_lstm",
            "conv_gru": "conv_gru",
            "traj_gru": {"name": "traj_gru", "links": 4},
            "sa_conv_lstm": ["conv_lstm", "sa_conv_lstm"],
            "st_lstm": "st_lstm",
        }.items()
    },
    "predrnn": ("predrnn", {"width": 16, "layers": 2, "kernel": 3, "patch": 2}),
    "ccnet": ("ccnet", {"width": 8, "depth": 2, "blocks": 1}),
    **{
        f"metnet {conditioning}": (
            "metnet",
            {
                "widths": [6],
                "hidden": 8,
                "blocks": 1,
                "cell": {"name": "conv_lstm", "kernel": 3},
                "conditioning": conditioning,
            },
        )
        for conditioning in ("one_hot", "film")
    },
}
# The patterns of one transformer differ too little for the slowest checks to be made of each, MetNet learns at a larger
# size in a file of its own.
TRAINED = [key for key in SMALL if not key.startswith(("metnet", "earthformer")) or key == "earthformer axial"]
# Compiled cells are looked at one by one in test_convlstm.
NOT_COMPILED = (
    "earthformer divided",
    "earthformer local",
    "earthformer axial",
    "convlstm traj_gru",
    "convlstm sa_conv_lstm",
)
COMPILED = [key for key in SMALL if key not in NOT_COMPILED]
ROLLED = ("se_resunet", "smaat_unet", "rainnet", "simvp gsta")
# Cuboids are cut from the corner of the map, so where rain stands in them matters.
EQUIVARIANT = [key for key in SMALL if not key.startswith("earthformer")]
REPEATED = ["earthformer axial", *(key for key in SMALL if key.startswith(("convlstm", "metnet"))), "predrnn"]

every = pytest.mark.parametrize("key", SMALL)


def small(key: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    name, own = SMALL[key]
    return models.create({"name": name, **own, **options}, past_frames=3, steps=5)


def nudged(network: nn.Module) -> nn.Module:
    """With weights that are zero at the start moved away from it, so that everything is seen in the forecast."""
    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return network


@every
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (5, 40), (1, 1)])
def test_any_size_goes_in_and_comes_out(key: str, height: int, width: int) -> None:
    forecast = nudged(small(key))(torch.rand(1, 3, 1, height, width))
    assert forecast.shape == (1, 5, 1, height, width)
    assert forecast.isfinite().all()


@every
def test_untrained_it_is_persistence(key: str) -> None:
    past = torch.rand(2, 3, 2, 13, 18)
    forecast = small(key, channels=2)(past)
    torch.testing.assert_close(forecast, past[:, -1:].expand(2, 5, 2, 13, 18))


@every
def test_one_channel_is_the_base_of_several_outputs(key: str) -> None:
    past = torch.rand(1, 3, 1, 13, 18)
    forecast = small(key, outputs=4)(past)
    torch.testing.assert_close(forecast, past[:, -1:].expand(1, 5, 4, 13, 18))
    with pytest.raises(InputError, match="4 outputs of 2 channels"):
        small(key, channels=2, outputs=4)


@every
def test_samples_of_a_batch_do_not_mix(key: str) -> None:
    network = nudged(small(key))
    past = torch.rand(3, 3, 1, 12, 20)
    torch.testing.assert_close(network(past)[1:2], network(past[1:2]), rtol=1e-4, atol=1e-5)


@every
def test_every_weight_learns(key: str) -> None:
    network = nudged(small(key))
    # A second step, since the first sees no further than the layer that was zero.
    future = torch.rand(2, 5, 1, 24, 20)
    forecast, extra = train_forward(network, torch.rand(2, 3, 1, 24, 20), future, 1.0)
    (F.mse_loss(forecast, future) + extra).backward()
    still = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []


@every
def test_attention_of_a_name_stands_in_it_and_learns(key: str) -> None:
    network = nudged(small(key, attention="eca"))
    gates = [module for module in network.modules() if type(module).__name__ == "EfficientChannelAttention"]
    network(torch.rand(1, 3, 1, 16, 16)).square().mean().backward()
    assert gates
    assert all(weight.grad is not None and weight.grad.any() for gate in gates for weight in gate.parameters())
    with pytest.raises(InputError, match=r"lists \d+ stages, the network has"):
        small(key, attention=["eca"] * 17)


@pytest.mark.parametrize("key", TRAINED)
def test_it_learns_two_windows_by_heart(key: str) -> None:
    torch.manual_seed(1)
    name, own = SMALL[key]
    network = models.create({"name": name, **own}, past_frames=4, steps=3)
    sky = F.avg_pool2d(torch.rand(2, 1, 28, 43), 5, 1).sub(0.5).clamp_min(0).mul(8)
    frames = torch.stack([sky[..., 7 - k : 39 - k] for k in range(7)], dim=1)  # one pixel a frame
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


@every
def test_half_precision_is_close(key: str) -> None:
    network, past = nudged(small(key)), torch.rand(1, 3, 1, 16, 24)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(past).float()
    full = network(past)
    assert half.isfinite().all()
    assert (half - full).abs().mean() < 0.05 * (full - past[:, -1:]).abs().mean() + 0.005


@pytest.mark.parametrize("key", COMPILED)
def test_compiled_it_is_the_same(key: str) -> None:
    network, past = nudged(small(key)), torch.rand(2, 3, 1, 13, 18)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(past), network(past), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("key", EQUIVARIANT)
def test_rain_that_is_moved_is_forecast_where_it_moved_to(key: str) -> None:
    """By multiples of the coarsest pixel, far from the border: nothing in it knows places."""
    torch.manual_seed(0)
    name, own = SMALL[key]
    network = nudged(models.create({"name": name, **own}, past_frames=2, steps=2)).double().eval()
    far = 148 if name == "simvp" else 56  # its large kernels see further
    past = F.pad(torch.rand(1, 2, 1, 12, 16, dtype=torch.float64), [far + 4, far + 4, far + 4, far])
    inner = (..., slice(far - 8, far + 24), slice(far - 12, far + 28))
    forecast, moved = network(past), network(past.roll((8, -8), dims=(-2, -1))).roll((-8, 8), dims=(-2, -1))
    assert (moved - forecast)[inner].abs().max() < 1e-4 * forecast[inner].std()
    assert (network(past.roll(1, dims=-1)) - forecast)[inner].abs().max() > 0.1 * forecast[inner].std()


@pytest.mark.parametrize("key", REPEATED)
def test_checkpointing_keeps_less_and_changes_no_gradient(key: str) -> None:
    past, future = torch.rand(2, 3, 1, 12, 20), torch.rand(2, 5, 1, 12, 20)
    kept, made = [], []
    for checkpointing in (False, True):
        network = nudged(small(key, checkpointing=checkpointing))
        held: dict[int, int] = {}

        def keep(tensor: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            forecast, extra = train_forward(network, past, future, 1.0)
        (forecast.square().sum() + extra).backward()
        kept.append(sum(held.values()))
        made.append([forecast, extra, *(weight.grad for weight in network.parameters())])
    assert kept[1] < 0.9 * kept[0]
    torch.testing.assert_close(made[1], made[0], rtol=1e-4, atol=1e-4)


@every
def test_its_weights_can_be_in_shards(key: str) -> None:
    """Of which PyTorch makes none of a weight without dimensions."""
    assert [name for name, weight in small(key, attention="danet").named_parameters() if weight.ndim == 0] == []


@every
def test_its_state_is_all_there_is(key: str) -> None:
    network, past = nudged(small(key)), torch.rand(1, 3, 1, 13, 18)
    other = small(key)
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    torch.testing.assert_close(other(past), network(past), rtol=0, atol=0)


@pytest.mark.parametrize("key", ROLLED)
def test_rolled_out_it_is_called_on_its_own_forecast(key: str) -> None:
    """Two frames a pass: three passes for five, each seeing what the last ones made, dry where that is below 0."""
    network = nudged(small(key, rollout=2))
    past = torch.rand(1, 3, 1, 12, 16)
    once = small(key, rollout=2)
    once.load_state_dict(network.state_dict())
    once.steps = 2
    expected, seen = [], past
    for _ in range(3):
        expected.append(once(seen))
        seen = torch.cat([seen, expected[-1].clamp_min(0)], dim=1)[:, -3:]
    torch.testing.assert_close(network(past), torch.cat(expected, dim=1)[:, :5])


@pytest.mark.parametrize("key", ROLLED)
def test_what_cannot_be_fed_back_is_said(key: str) -> None:
    with pytest.raises(InputError, match="its outputs are its 1 channels, not 4"):
        small(key, rollout=1, outputs=4)
    with pytest.raises(InputError, match="at least 1, not 0"):
        small(key, rollout=0)
