"""Contextual transformer."""

import pytest
import torch
from torch import nn

from nowcast.attention.cot import ContextualTransformer
from nowcast.contracts import InputError


def randomised(module: ContextualTransformer) -> ContextualTransformer:
    """In eval mode, with statistics of its batch norms that are not those of no data."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return module.eval()


def convolved(values: torch.Tensor, weights: torch.Tensor, kernels: int, parts: int, kernel: int) -> torch.Tensor:
    """One sample, place by place and tap by tap: channel c of a part takes kernel c modulo that part's kernels."""
    channels, height, width = values.shape
    each, reach = kernels // parts, kernel // 2
    y = torch.zeros_like(values)
    for channel in range(channels):
        part, number = divmod(channel, channels // parts)
        first = (part * each + number % each) * kernel**2
        for i in range(height):
            for j in range(width):
                for tap in range(kernel**2):
                    u, v = i + tap // kernel - reach, j + tap % kernel - reach
                    if 0 <= u < height and 0 <= v < width:
                        y[channel, i, j] += weights[first + tap, i, j] * values[channel, u, v]
    return y


@torch.no_grad()
@pytest.mark.parametrize(("variant", "parts"), [("cot", 1), ("coxt", 2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_it_is_the_formula_place_by_place(variant, parts, kernel):
    torch.manual_seed(0)
    module, x = randomised(ContextualTransformer(16, variant=variant, kernel=kernel)), torch.randn(2, 16, 4, 5)
    static = module.key(x)
    both = torch.cat([x, static], dim=1)
    if parts == 2:  # x and keys of each channel side by side, so that both parts see half of each
        both = torch.stack([map_[:, c] for c in range(16) for map_ in (x, static)], dim=1)
    weights, values = module.weigh(both), module.value(x)
    dynamic = torch.stack(
        [convolved(v, w, kernels=2, parts=parts, kernel=kernel) for v, w in zip(values, weights, strict=True)]
    )
    dynamic = module.activate(dynamic)
    logits = module.choose((static + dynamic).mean(dim=(2, 3), keepdim=True))
    share = torch.sigmoid(logits[:, 0::2] - logits[:, 1::2])
    torch.testing.assert_close(module(x), share * dynamic + (1 - share) * static, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_local_weights_depend_on_the_place_and_are_no_average():
    """Popular copies mean over taps and take a softmax over positions; here doubled weights double the sum."""
    torch.manual_seed(0)
    module, values = ContextualTransformer(16), torch.randn(1, 16, 3, 4)
    weights = torch.zeros(1, 18, 3, 4)
    weights[0, 4, 1, 2] = 2.0  # the middle tap of the first kernel at one place
    y = module._convolved(values, weights)
    expected = torch.zeros_like(values)
    expected[0, 0::2, 1, 2] = 2 * values[0, 0::2, 1, 2]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(module._convolved(values, 2 * weights), 2 * y)


def test_the_published_number_of_weights_of_the_wide_variant_comes_out():
    assert sum(weight.numel() for weight in ContextualTransformer(64, variant="coxt").parameters()) == 16_888


@pytest.mark.parametrize("channels", [2, 6, 16, 24, 36])
def test_the_wide_variant_takes_any_even_number_of_channels(channels):
    x = torch.randn(1, channels, 5, 7)
    assert ContextualTransformer(channels, variant="coxt").train()(x).shape == x.shape


def test_batch_norm_of_the_fusion_needs_more_than_one_sample_and_group_norm_does_not():
    x = torch.randn(1, 16, 5, 7)
    assert ContextualTransformer(16).train()(x).isfinite().all()
    with pytest.raises(ValueError, match="more than 1 value"):
        ContextualTransformer(16, norm="batch").train()(x)


@pytest.mark.parametrize("options", [{"kernel": 2}, {"groups": 2}, {"variant": "coxt"}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="cot"):
        ContextualTransformer(7, **options)
