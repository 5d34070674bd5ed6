"""Relation-aware global attention over positions, channels, and both."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from nowcast.attention.rga import RelationAwareAttention
from nowcast.attention.rga_c import RelationAwareChannels
from nowcast.attention.rga_s import RelationAwarePositions
from nowcast.contracts import InputError


def randomised(module: nn.Module) -> nn.Module:
    """Weights and running statistics that leave nothing to be taken for granted."""
    for value in [*module.parameters(), *module.buffers()]:
        if value.dtype.is_floating_point:
            nn.init.uniform_(value, 0.2, 1.0)
    return module.eval()


def layer(values: torch.Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> torch.Tensor:
    """1×1 convolution and batch norm of one node's values."""
    y = conv.weight[:, :, 0, 0] @ values
    return (y - norm.running_mean) / (norm.running_var + norm.eps) ** 0.5 * norm.weight + norm.bias


def embedded(values: torch.Tensor, layers: Sequence[nn.Module]) -> torch.Tensor:
    return layer(values, layers[0], layers[1]).clamp_min(0)


def gates(module: nn.Module, kind: str, nodes: list[torch.Tensor]) -> torch.Tensor:
    """One gate a node, from every single relation of a node to another."""
    theta = [embedded(node, module.pair[f"theta_{kind}"]) for node in nodes]
    phi = [embedded(node, module.pair[f"phi_{kind}"]) for node in nodes]
    found = []
    for i, node in enumerate(nodes):
        relations = [theta[i] @ other for other in phi] + [other @ phi[i] for other in theta]
        related = embedded(torch.stack(relations), [module.related[kind].project, module.related[kind].norm])
        own = embedded(node, module.own[kind]).mean()
        hidden = embedded(torch.cat([own[None], related]), module.weigh[kind][:3])
        found.append(torch.sigmoid(layer(hidden, *module.weigh[kind][3:5])))
    return torch.cat(found)


OPTIONS = {"grid": (3, 4), "norm": "batch", "reduction": 2, "minimum": 1}


@torch.no_grad()
def test_positions_are_gated_by_all_their_relations():
    module = randomised(RelationAwarePositions(6, **OPTIONS))
    x = 0.3 * torch.randn(1, 6, 3, 4)
    expected = x * gates(module, "positions", list(x[0].flatten(1).T)).view(1, 1, 3, 4)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_channels_are_gated_by_all_their_relations():
    module = randomised(RelationAwareChannels(6, **OPTIONS))
    x = 0.3 * torch.randn(1, 6, 3, 4)
    expected = x * gates(module, "channels", list(x[0].flatten(1))).view(1, 6, 1, 1)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_both_are_positions_then_channels():
    both = randomised(RelationAwareAttention(6, **OPTIONS))
    weights = both.state_dict()
    y = x = 0.3 * torch.randn(2, 6, 5, 4)
    for kind, member in (("positions", RelationAwarePositions), ("channels", RelationAwareChannels)):
        part = member(6, **OPTIONS).eval()
        part.load_state_dict({key: value for key, value in weights.items() if kind in key})
        y = part(y)
    torch.testing.assert_close(both(x), y)


@torch.no_grad()
def test_weights_come_in_the_order_of_the_authors_where_they_could_be_confused():
    """θ, φ and g have equal shapes, so only their place tells them apart: g first, θ and φ last."""
    module = RelationAwareAttention(64, minimum=1, norm="batch")
    names = [".".join(key.split(".")[:2]) for key, _ in module.named_parameters()]
    assert list(dict.fromkeys(names)) == [
        *(f"{part}.{kind}" for part in ("own", "related", "weigh") for kind in ("positions", "channels")),
        *(f"pair.{letter}_{kind}" for kind in ("positions", "channels") for letter in ("theta", "phi")),
    ]


@torch.no_grad()
def test_a_larger_map_is_related_to_the_means_of_cells():
    """Every pixel four times over changes nothing: neither cells nor gates."""
    module = randomised(RelationAwareAttention(6, **OPTIONS))
    x = 0.3 * torch.randn(2, 6, 3, 4)
    doubled = torch.nn.functional.interpolate(module(x), scale_factor=2)
    torch.testing.assert_close(module(torch.nn.functional.interpolate(x, scale_factor=2)), doubled)


def test_a_single_pixel_of_a_single_sample_can_be_trained_on():
    """Its only value per channel of the last norm becomes 0, so the gates are halves at first."""
    x = torch.randn(1, 16, 1, 1)
    torch.testing.assert_close(RelationAwarePositions(16).train()(x), x / 2)


@pytest.mark.parametrize("grid", [(8,), (0, 8), (8, 8, 8)])
def test_a_grid_that_is_no_size_is_refused(grid):
    with pytest.raises(InputError, match="rows and columns"):
        RelationAwareAttention(16, grid=grid)
