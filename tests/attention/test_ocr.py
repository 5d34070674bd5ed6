"""Object-contextual representations."""

import pytest
import torch
from torch import nn

from nowcast.attention.ocr import ObjectContext
from nowcast.contracts import InputError
from tests.attention.by_hand import attended, pixels, softmax


def batch_normed(module: nn.Module) -> nn.Module:
    """With statistics and weights that are not those at first."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return module.eval()


def transformed(block: nn.Sequential, rows: torch.Tensor) -> torch.Tensor:
    """1×1 convolution, batch norm and ReLU of tokens, (N, C) → (N, D)."""
    convolution, norm, _ = block
    rows = rows @ convolution.weight.flatten(1).T
    rows = (rows - norm.running_mean) / (norm.running_var + 1e-5) ** 0.5
    return (rows * norm.weight + norm.bias).clamp_min(0)


@torch.no_grad()
def test_it_is_the_formula_region_by_region_and_pixel_by_pixel():
    torch.manual_seed(0)
    module = batch_normed(ObjectContext(6, norm="batch", minimum=3, own_logits=False))
    x, logits = torch.randn(2, 6, 2, 3), torch.randn(2, 4, 2, 3)
    for sample, labels, y in zip(x, logits, module(x, logits), strict=True):
        tokens = pixels(sample)
        regions = torch.stack([
            sum(weight * token for weight, token in zip(softmax(list(scores)), tokens, strict=True))
            for scores in labels.flatten(1)
        ])  # fmt: skip
        queries, keys = tokens, regions
        for first, second in zip(module.query, module.key, strict=True):
            queries, keys = transformed(first, queries), transformed(second, keys)
        found = attended(queries, keys, transformed(module.value, regions), 3**-0.5)
        expected = transformed(module.fuse, torch.cat([transformed(module.widen, found), tokens], dim=1))
        torch.testing.assert_close(pixels(y), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_sure_region_is_the_mean_of_its_pixels():
    module, x = ObjectContext(8), torch.randn(1, 8, 2, 4)
    inside = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0]])
    logits = 1e4 * torch.stack([inside, 1 - inside])[None].float()
    inner, outer = module.gather(x, logits)[0]
    torch.testing.assert_close(inner, x[0][:, inside == 1].mean(dim=1))
    torch.testing.assert_close(outer, x[0][:, inside == 0].mean(dim=1))


@torch.no_grad()
def test_its_own_logits_are_there_for_a_loss():
    module, x = ObjectContext(16, regions=5), torch.randn(2, 16, 3, 4)
    logits = module.regions(x)
    assert logits.shape == (2, 5, 3, 4)
    torch.testing.assert_close(module(x), module(x, logits))
    assert not torch.allclose(module(x), module(x, logits.roll(1, dims=3)))


@torch.no_grad()
def test_what_all_pixels_share_of_a_logit_does_not_count():
    module, x = ObjectContext(16), torch.randn(1, 16, 3, 4)
    logits = module.regions(x)
    torch.testing.assert_close(module(x, logits + torch.randn(16, 1, 1)), module(x))


def test_without_a_head_logits_must_be_given():
    module, x = ObjectContext(16, own_logits=False), torch.randn(1, 16, 3, 3)
    assert module(x, torch.randn(1, 3, 3, 3)).shape == x.shape
    with pytest.raises(InputError, match="give them with the map"):
        module(x)


def test_a_single_region_is_refused():
    with pytest.raises(InputError, match="2 regions or more, not 1"):
        ObjectContext(16, regions=1)
