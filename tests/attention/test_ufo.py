"""Unit force operated attention."""

import torch

from nowcast.attention.ufo import UnitForceAttention


def built(**options: object) -> UnitForceAttention:
    torch.manual_seed(0)
    module = UnitForceAttention(6, heads=2, **options).double()
    torch.nn.init.uniform_(module.gamma, 0.5, 2)
    return module


def affine(layer: torch.nn.Conv2d, pixel: torch.Tensor) -> torch.Tensor:
    return layer.weight[:, :, 0, 0] @ pixel + layer.bias


@torch.no_grad()
def test_it_is_the_formula_head_by_head_and_token_by_token():
    module = built()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    for b in range(2):
        pixels = x[b].flatten(1).T
        q, k, v = ([affine(layer, pixel) for pixel in pixels] for layer in (module.query, module.key, module.value))
        for n in range(len(pixels)):
            heads = []
            for h, part in enumerate((slice(0, 3), slice(3, 6))):
                gamma = module.gamma[h].item()
                sums = sum(torch.outer(key[part], value[part]) for key, value in zip(k, v, strict=True))
                rows = [gamma * row / row.square().sum().sqrt() for row in sums]
                query = gamma * q[n][part] / q[n][part].square().sum().sqrt()
                heads.append(sum(a * row for a, row in zip(query, rows, strict=True)))
            expected = affine(module.project, torch.cat(heads))
            torch.testing.assert_close(module(x)[b].flatten(1)[:, n], expected)


def test_a_dry_map_without_biases_is_dry_and_has_finite_gradients():
    """Plain division by the norm, as in popular copies, makes it NaN."""
    module = built(bias=False)
    x = torch.zeros(1, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad.isfinite().all()


@torch.no_grad()
def test_the_strength_of_keys_and_values_does_not_matter():
    module = built(bias=False)
    x = torch.randn(1, 6, 3, 3, dtype=torch.float64)
    expected = module(x)
    for layer in (module.query, module.key, module.value):
        layer.weight *= 7
        torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_gamma_scales_both_sides():
    module = built()
    x = torch.randn(1, 6, 3, 3, dtype=torch.float64)
    module.project.bias.zero_()
    expected = 9 * module(x)
    module.gamma *= 3
    torch.testing.assert_close(module(x), expected)


def test_it_has_the_published_weights_with_gamma_first():
    module = UnitForceAttention(64, heads=4)
    assert [weight.numel() for weight in module.parameters()] == [4] + 4 * [64 * 64, 64]
    assert torch.equal(module.gamma, torch.ones(4, 1, 1))
