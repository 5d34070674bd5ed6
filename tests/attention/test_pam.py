"""Position attention of the dual attention network."""

import torch

from nowcast.attention._tokens import _split
from nowcast.attention.pam import PositionAttention
from tests.attention.by_hand import attended, pixels


@torch.no_grad()
def test_it_is_the_formula_pixel_by_pixel():
    torch.manual_seed(0)
    module, x = PositionAttention(6, reduction=2), torch.randn(2, 6, 2, 3)
    module.gamma.fill_(0.7)
    for sample, y in zip(x, module(x), strict=True):
        tokens = pixels(sample)
        context = attended(module.query(tokens), module.key(tokens), module.value(tokens))
        torch.testing.assert_close(pixels(y), tokens + 0.7 * context)


def test_it_is_the_identity_at_first():
    x = torch.randn(2, 16, 4, 3)
    assert torch.equal(PositionAttention(16)(x), x)


@torch.no_grad()
def test_the_softmax_is_over_keys_not_over_queries():
    """Weights of every pixel sum to 1, so that a value that all pixels share comes back unchanged."""
    module, x = PositionAttention(8), torch.randn(1, 8, 3, 4)
    module.gamma.fill_(1.0)
    module.value.weight.zero_()
    torch.testing.assert_close(module(x), x + module.value.bias[:, None, None])


@torch.no_grad()
def test_the_bias_of_the_keys_has_no_effect():
    module, x = PositionAttention(8, key_bias=True), torch.randn(1, 8, 3, 4)
    module.gamma.fill_(1.0)
    expected = module(x)
    module.key.bias.add_(3)
    torch.testing.assert_close(module(x), expected)


def test_a_query_of_width_one_lies_in_memory_as_kernels_of_gpus_need_it():
    split = _split(torch.randn(2, 35, 1), heads=1, missing=7)
    assert split.shape == (2, 1, 35, 8)
    assert split.stride() == (280, 8, 8, 1)


def test_queries_and_keys_are_narrower_than_values():
    module = PositionAttention(64)
    assert module.query.out_features == module.key.out_features == 8
    assert PositionAttention(6).query.out_features == 1
