"""A transformer layer over pixels."""

import pytest
import torch
from torch import nn

from nowcast.attention.transformer_block import TransformerBlock
from nowcast.contracts import InputError


@torch.no_grad()
@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_it_is_the_encoder_layer_of_torch(order, activation):
    torch.manual_seed(0)
    module = TransformerBlock(16, heads=4, order=order, activation=activation, key_bias=True)
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation=activation, batch_first=True, norm_first=order == "pre"
    )
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)
    attention = module.attention
    inputs = (attention.query, attention.key, attention.value)
    layer.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in inputs]))
    layer.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in inputs]))
    pairs = (
        (layer.self_attn.out_proj, attention.project),
        (layer.linear1, module.perceptron[0]),
        (layer.linear2, module.perceptron[2]),
        (layer.norm1, module.attention_norm),
        (layer.norm2, module.perceptron_norm),
    )
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, 3, 5)
    expected = layer(x.flatten(2).mT).mT.unflatten(2, (3, 5))
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_norm_in_front_leaves_the_way_of_the_residual_free():
    module, x = TransformerBlock(8), torch.randn(1, 8, 3, 3)
    for layer in (module.attention.project, module.perceptron[2]):
        layer.weight.zero_()
        layer.bias.zero_()
    assert torch.equal(module(x), x)


@torch.no_grad()
def test_positions_reach_pixels_that_nothing_else_tells_apart():
    x = torch.ones(1, 8, 4, 4)
    assert TransformerBlock(8)(x).std(dim=(2, 3)).max() < 1e-5
    assert TransformerBlock(8, positions="sinusoidal")(x).std(dim=(2, 3)).min() > 1e-2


def test_a_ratio_without_hidden_units_is_refused():
    assert TransformerBlock(8, ratio=0.5).perceptron[0].out_features == 4
    with pytest.raises(InputError, match=r"ratio of 0\.1"):
        TransformerBlock(8, ratio=0.1)
