"""Concurrent spatial and channel squeeze and excitation."""

import pytest
import torch

from nowcast.attention.scse import ConcurrentSqueezeExcitation
from nowcast.attention.se import SqueezeExcitation


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, 3, 5)


def alone(whole: ConcurrentSqueezeExcitation, part: str) -> ConcurrentSqueezeExcitation:
    """One part of a module with that module's weights."""
    module = ConcurrentSqueezeExcitation(6, part=part, minimum=1)
    module.load_state_dict({k: v for k, v in whole.state_dict().items() if k in module.state_dict()})
    return module


@torch.no_grad()
@pytest.mark.parametrize(("combine", "together"), [("sum", torch.add), ("max", torch.maximum), ("product", torch.mul)])
def test_both_gated_maps_are_combined(x, combine, together):
    module = ConcurrentSqueezeExcitation(6, combine=combine, minimum=1)
    expected = together(alone(module, "cse")(x), alone(module, "sse")(x))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_the_channel_part_is_squeeze_excitation_with_biases(x):
    module = ConcurrentSqueezeExcitation(6, part="cse", minimum=1)
    se = SqueezeExcitation(6, reduction=2, bias=True, minimum=1)
    for weight, value in zip(se.parameters(), module.parameters(), strict=True):
        weight.copy_(value.reshape(weight.shape))
    torch.testing.assert_close(module(x), se(x))


@torch.no_grad()
def test_the_spatial_part_gates_all_channels_of_a_position_by_one_number(x):
    """Popular copies have C × C weights here and so a gate a channel."""
    module = ConcurrentSqueezeExcitation(6, part="sse")
    weight, bias = module.parameters()
    expected = torch.empty_like(x)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(5)):
        logit = sum(weight[0, c, 0, 0] * x[b, c, i, j] for c in range(6)) + bias
        expected[b, :, i, j] = x[b, :, i, j] / (1 + torch.exp(-logit))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_zero_weights_give_half_and_half(x):
    module = ConcurrentSqueezeExcitation(6)
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(module(x), x)
