"""Global context block."""

import pytest
import torch

from nowcast.attention.gcnet import GlobalContext, Transform
from tests.attention.by_hand import pixels, softmax


def filled(module: GlobalContext) -> GlobalContext:
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return module


def by_hand(transform: Transform, context: torch.Tensor) -> torch.Tensor:
    first, norm, _, last = transform
    hidden = first.weight @ context + first.bias
    hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5) ** 0.5
    return last.weight @ (hidden * norm.weight + norm.bias).clamp_min(0) + last.bias


@torch.no_grad()
@pytest.mark.parametrize("fuse", ["add", "multiply", "both"])
@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_it_is_the_formula_pixel_by_pixel(fuse, pool):
    torch.manual_seed(0)
    module, x = filled(GlobalContext(6, fuse=fuse, pool=pool, minimum=3)), torch.randn(2, 6, 2, 3)
    for sample, y in zip(x, module(x), strict=True):
        tokens = pixels(sample)
        logits = [torch.zeros(()) if module.key is None else module.key.weight.flatten() @ t for t in tokens]
        context = sum(weight * token for weight, token in zip(softmax(logits), tokens, strict=True))
        expected = tokens
        if fuse != "add":
            expected = expected * torch.sigmoid(by_hand(module.multiply, context))
        if fuse != "multiply":
            expected = expected + by_hand(module.add, context)
        torch.testing.assert_close(pixels(y), expected, rtol=1e-4, atol=1e-5)


def test_it_is_the_identity_at_first_and_a_half_where_it_multiplies():
    x = torch.randn(2, 16, 3, 4)
    assert torch.equal(GlobalContext(16)(x), x)
    torch.testing.assert_close(GlobalContext(16, fuse="multiply")(x), x / 2)


@torch.no_grad()
def test_every_pixel_is_given_the_same():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 5, 4)
    given = filled(GlobalContext(8))(x) - x
    torch.testing.assert_close(given, given.mean(dim=(2, 3), keepdim=True).expand_as(x))
    assert given.abs().max() > 0.1


@torch.no_grad()
def test_the_context_is_one_of_the_pixels_when_its_key_stands_out():
    module, x = GlobalContext(4), torch.randn(1, 4, 3, 3)
    x[0, 0, 1, 2] = 50.0
    module.key.weight.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1))
    torch.testing.assert_close(module.context(x)[0], x[0, :, 1, 2])


@torch.no_grad()
def test_the_bias_of_the_key_has_no_effect():
    module, x = filled(GlobalContext(8, key_bias=True)), torch.randn(1, 8, 3, 3)
    expected = module(x)
    module.key.bias.add_(4)
    torch.testing.assert_close(module(x), expected)
