"""Self-attention without projections."""

import torch

from nowcast.attention.self_attention import SelfAttention
from nowcast.attention.simplified_self_attention import SimplifiedSelfAttention
from tests.attention.by_hand import attended, pixels


@torch.no_grad()
def test_it_is_the_formula_head_by_head_and_pixel_by_pixel():
    torch.manual_seed(0)
    module, x = SimplifiedSelfAttention(6, heads=3), torch.randn(2, 6, 3, 2)
    for sample, y in zip(x, module(x), strict=True):
        tokens = pixels(sample)
        heads = [attended(part, part, part, 2**-0.5) for part in tokens.split(2, dim=1)]
        expected = tokens + torch.cat(heads, dim=1) @ module.project.weight.T + module.project.bias
        torch.testing.assert_close(pixels(y), expected)


@torch.no_grad()
def test_it_is_self_attention_whose_projections_are_the_identity():
    torch.manual_seed(0)
    module, full = SimplifiedSelfAttention(16), SelfAttention(16)
    full.project.load_state_dict(module.project.state_dict())
    for layer in (full.query, full.key, full.value):
        torch.nn.init.eye_(layer.weight)
        if layer.bias is not None:
            layer.bias.zero_()
    x = torch.randn(2, 16, 4, 3)
    torch.testing.assert_close(module(x), full(x))


@torch.no_grad()
def test_strong_pixels_of_different_kinds_keep_to_themselves():
    """Likeness of a pixel with itself is |x|²/√d, which wins for large values: then y = x + W_o x."""
    module = SimplifiedSelfAttention(4, heads=1)
    x = 100 * torch.eye(4).reshape(1, 4, 2, 2)
    expected = x + module.project(x.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_queries_may_come_from_elsewhere():
    torch.manual_seed(0)
    module = SimplifiedSelfAttention(4, heads=1, residual=False)
    queries, keys, values = torch.randn(1, 5, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    expected = module.project(attended(queries[0], keys[0], values[0], 0.5))
    torch.testing.assert_close(module.between(queries, keys, values)[0], expected)
