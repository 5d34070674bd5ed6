"""Squeeze-and-excitation."""

import torch

from nowcast.attention.se import SqueezeExcitation


def test_zero_weights_halve_the_signal():
    module = SqueezeExcitation(8)
    for weight in module.parameters():
        torch.nn.init.zeros_(weight)
    x = torch.randn(2, 8, 3, 5)
    torch.testing.assert_close(module(x), x / 2)


def test_it_is_the_formula_channel_by_channel():
    torch.manual_seed(0)
    channels, width = 6, 3
    module = SqueezeExcitation(channels, reduction=2, bias=True, minimum=1)
    w1, b1, w2, b2 = (weight.detach() for weight in module.parameters())
    x = torch.randn(2, channels, 4, 5)
    expected = torch.empty_like(x)
    for b in range(2):
        means = [x[b, c].sum() / 20 for c in range(channels)]
        hidden = [max(sum(w1[k, c] * means[c] for c in range(channels)) + b1[k], 0.0) for k in range(width)]
        for c in range(channels):
            gate = 1 / (1 + torch.exp(-(sum(w2[c, k] * hidden[k] for k in range(width)) + b2[c])))
            expected[b, c] = gate * x[b, c]
    torch.testing.assert_close(module(x), expected)


def test_the_bottleneck_is_never_narrower_than_its_minimum_nor_wider_than_the_map():
    widths = [SqueezeExcitation(c, reduction=16).excite[0].out_features for c in (4, 8, 64, 128, 256)]
    assert widths == [4, 8, 8, 8, 16]
    assert SqueezeExcitation(64, minimum=1).excite[0].out_features == 4
