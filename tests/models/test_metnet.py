"""MetNet: any size, lead times that do not mix, context from afar, persistence at the start."""

import pytest
import torch
from torch import nn

from nowcast import models
from nowcast.contracts import InputError
from nowcast.losses import MAE
from nowcast.models.metnet import MetNet

CELL = {"name": "conv_lstm", "kernel": 3}
CONDITIONINGS = ["one_hot", "film"]


def small(**options: object) -> MetNet:
    torch.manual_seed(0)
    sizes = {"past_frames": 3, "steps": 5, "widths": (6, 10), "hidden": 8, "blocks": 1, "cell": CELL}
    return MetNet(**{**sizes, **options})


def woken(**options: object) -> MetNet:
    """One whose every weight matters."""
    network = small(**options)
    for name, weight in network.named_parameters():
        if name.startswith("head") or "film" in name:
            nn.init.normal_(weight, std=0.3)
    return network


def test_untrained_with_a_margin_it_is_persistence_of_the_centre() -> None:
    past = torch.rand(2, 3, 1, 24, 37)
    expected = past[:, -1:, :, 5:-5, 5:-5].expand(-1, 5, -1, -1, -1)
    torch.testing.assert_close(small(margin=5)(past), expected)


def test_a_margin_only_cuts_what_would_be_forecast_and_the_cut_is_still_seen() -> None:
    past = torch.rand(1, 3, 1, 24, 37, requires_grad=True)
    network = woken()
    whole = network(past)
    network.margin = 6
    centre = network(past)
    torch.testing.assert_close(centre, whole[..., 6:-6, 6:-6])
    (gradient,) = torch.autograd.grad(centre.sum(), past)
    assert (gradient[..., :4, :4] != 0).any()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_each_lead_time_has_its_own_condition(conditioning: str) -> None:
    """Weights of lead time 2 (a plane of the first convolution, a row of FiLM) change its forecast and no other."""
    network, past = woken(conditioning=conditioning), torch.rand(2, 3, 1, 16, 24)
    before = network(past)
    assert (before[:, 1:] - before[:, :-1]).abs().amax(dim=(0, 2, 3, 4)).min() > 1e-4
    with torch.no_grad():
        if conditioning == "one_hot":
            network.downsample[0].weight[:, 4 + 2] += 0.3
        else:
            network.aggregate[0].film.weight[2] += 0.3
    change = (network(past) - before).abs().amax(dim=(0, 2, 3, 4))
    assert change[2] > 1e-3
    assert (change[[0, 1, 3, 4]] == 0).all()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("options", [{"leads_at_once": 2}, {"leads_at_once": 2, "checkpointing": True}], ids=str)
def test_in_parts_or_repeated_it_is_the_same_with_the_same_gradients(conditioning: str, options: dict) -> None:
    past = torch.rand(2, 3, 1, 11, 19)
    made = []
    for each in ({}, options):
        network = woken(conditioning=conditioning, **each)
        forecast = network(past)
        forecast.square().sum().backward()
        made.append((forecast, [weight.grad for weight in network.parameters()]))
    torch.testing.assert_close(made[1], made[0], rtol=1e-4, atol=1e-4)


def test_every_past_frame_and_every_weight_counts() -> None:
    past = torch.rand(2, 3, 1, 16, 24, requires_grad=True)
    network = woken()
    network(past).square().sum().backward()
    assert (past.grad.abs().sum(dim=(0, 2, 3, 4)) > 0).all()
    for name, weight in network.named_parameters():
        assert weight.grad.abs().sum() > 0, name


def reach(network: MetNet) -> torch.Tensor:
    """Which pixels of the past change the first pixels of the forecast, for their rows and columns."""
    past = torch.rand(1, 3, 1, 64, 96, requires_grad=True)
    network(past)[..., :8, :8].sum().backward()
    return past.grad.abs().sum(dim=(0, 1, 2)) > 1e-12


def without_norms(network: MetNet) -> MetNet:
    """Group norm sees the whole map; without it only convolutions and attention carry anything across."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    return network


def test_attention_is_what_sees_the_whole_map() -> None:
    near = reach(without_norms(woken(attention=None)))
    one = reach(without_norms(woken(attention="axial_package")))
    two = reach(without_norms(woken(attention="axial_package", blocks=2)))
    # 8 pixels, 3 cells of the recurrent one, 3 convolutions at a quarter and one at half of the resolution.
    furthest = 8 + 3 * 8 + 3 * 4 + 2
    assert near[furthest - 1, :8].any()
    assert not near[furthest:].any()
    assert not near[:, furthest:].any()
    assert one[:8, 90:].any()
    assert one[60:, :8].any()
    assert not one[56:, 80:].any()  # one block joins rows and columns; what is in neither needs another
    assert two[56:, 80:].any()


def test_where_nothing_spans_the_map_rain_moved_by_a_block_moves_the_forecast() -> None:
    network = without_norms(woken(attention=None))
    assert network.multiple == 8
    past = torch.rand(1, 3, 1, 96, 112)
    forecast, moved = network(past), network(past.roll((8, -16), dims=(-2, -1)))
    inside = (..., slice(40, -40), slice(48, -48))
    torch.testing.assert_close(
        moved[inside], forecast.roll((8, -16), dims=(-2, -1))[inside], rtol=1e-4, atol=1e-5
    )  # fmt: skip


@pytest.mark.parametrize("cell", ["conv_lstm", {"name": "conv_gru"}])
@pytest.mark.parametrize("attention", [None, "axial", {"name": "axial_package", "heads": 2}, ["se", "axial_row"]])
def test_cells_and_attention_come_by_name_and_learn(cell: object, attention: object) -> None:
    network = woken(cell=cell, attention=attention, blocks=2)
    network(torch.rand(2, 3, 1, 16, 24)).square().sum().backward()
    attending = [block.attend[1] for block in network.aggregate]
    if attention is None:
        assert all(isinstance(each, nn.Identity) for each in attending)
        return
    for each in attending:
        assert sum(float(weight.grad.abs().sum()) for weight in each.parameters()) > 0


def test_the_parts_have_the_paper_s_sizes() -> None:
    """Counted by hand at widths 160 and 256, 384 hidden channels, 8 blocks; the paper's code is not public."""
    network = MetNet(7, 60, widths=(160, 256), hidden=384, blocks=8, outputs=512, cell=CELL, residual=False)
    counts = {
        name: sum(weight.numel() for weight in getattr(network, name).parameters())
        for name in ("downsample", "cell", "aggregate", "head")
    }
    assert counts["downsample"] == 9 * (64 * 160 + 160 * 256 + 2 * 256 * 256) + 2 * (160 + 3 * 256)
    # Four 3×3 gates of input and of state, each with a bias.
    assert counts["cell"] == 4 * 384 * (9 * (256 + 384) + 2)
    # A block: queries, keys, values and outputs along two axes, a mixture of twice the width, two norms.
    axial, mixture, norms = 2 * (4 * 384 * 384 + 384), 4 * 384 * 384 + 3 * 384, 4 * 384
    assert counts["aggregate"] == 8 * (axial + mixture + norms)
    assert counts["head"] == (384 + 1) * 512 * 64


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_it_overfits_two_windows(conditioning: str) -> None:
    torch.manual_seed(1)
    sky = nn.functional.avg_pool2d(torch.rand(2, 1, 28, 42), 5, 1)
    sky = (12 * (sky - 0.48)).clamp_min(0)
    frames = torch.stack([sky[..., 6 - k : 38 - k] for k in range(7)], dim=1)
    past, future = frames[:, :4], frames[:, 4:]
    network = small(past_frames=4, steps=3, conditioning=conditioning, widths=(24, 32), hidden=64)
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = MAE()(network(past), future, torch.ones_like(future, dtype=torch.bool))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


def test_bins_stand_around_it() -> None:
    inside = {"name": "metnet", "widths": [6], "hidden": 8, "blocks": 1, "residual": False}
    network = models.create({"name": "bins", "network": inside, "edges": [0.5, 2, 10]}, past_frames=3, steps=5)
    fields = network(torch.rand(2, 3, 1, 9, 11))
    assert fields.shape == (2, 5, 4, 9, 11)
    reached = network.output.exceedance(fields, [0.5, 2, 10])
    assert (reached.diff(dim=2) < 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"conditioning": "onehot"}, "no conditioning 'onehot'; it has one_hot and film"),
        ({"widths": []}, "widths, hidden, blocks"),
        ({"blocks": 0}, "of at least 1"),
        ({"margin": -1}, "no negative margin"),
        ({"attention": ["se", "se"]}, "lists 2 stages, the network has 1"),
        ({"cell": "conv_lst"}, "did you mean conv_lstm"),
        ({"outputs": 3, "channels": 2}, "no last frame to add to"),
    ],
)
def test_what_cannot_be_is_said(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**options)


def test_a_map_without_a_centre_is_refused() -> None:
    with pytest.raises(InputError, match="16×24 have no centre inside of a margin of 8"):
        small(margin=8)(torch.rand(1, 3, 1, 16, 24))
