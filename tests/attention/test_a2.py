"""Double attention."""

import pytest
import torch

from nowcast.attention.a2 import DoubleAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import pixels, softmax


@torch.no_grad()
def test_it_is_the_formula_descriptor_by_descriptor_and_pixel_by_pixel():
    torch.manual_seed(0)
    module, x = DoubleAttention(6, features=3, descriptors=4), torch.randn(2, 6, 2, 3)
    for sample, y in zip(x, module(x), strict=True):
        features, gather, distribute = (
            pixels(layer(sample)) for layer in (module.feature, module.gather, module.distribute)
        )
        descriptors = [
            sum(weight * feature for weight, feature in zip(softmax(list(logits)), features, strict=True))
            for logits in gather.T
        ]
        rows = []
        for token, logits in zip(pixels(sample), distribute, strict=True):
            mix = sum(weight * d for weight, d in zip(softmax(list(logits)), descriptors, strict=True))
            rows.append(token + module.project.weight.flatten(1) @ mix + module.project.bias)
        torch.testing.assert_close(pixels(y), torch.stack(rows))


@torch.no_grad()
def test_each_pixel_shares_out_descriptors_not_each_descriptor_pixels():
    """Descriptors that are all alike reach every pixel whole, whatever it asks for."""
    module, x = DoubleAttention(8, residual=False), torch.randn(1, 8, 3, 5)
    module.gather.weight.zero_()
    mean = module.feature(x).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(module(x), module.project(mean).expand_as(x))


@torch.no_grad()
def test_the_residual_is_x():
    module, x = DoubleAttention(8), torch.randn(1, 8, 3, 3)
    alone = DoubleAttention(8, residual=False)
    alone.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(x) - x, alone(x))


@torch.no_grad()
def test_the_bias_of_the_gathering_has_no_effect():
    module, x = DoubleAttention(8, key_bias=True), torch.randn(1, 8, 3, 4)
    expected = module(x)
    module.gather.bias.add_(torch.randn(8))
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("options", [{"features": 0}, {"descriptors": 1}])
def test_nothing_to_gather_or_to_choose_from_is_refused(options):
    with pytest.raises(InputError, match="2 descriptors or more"):
        DoubleAttention(16, **options)
