"""Non-local block."""

import pytest
import torch

from nowcast.attention.non_local import NonLocal, rectified_sums
from nowcast.contracts import InputError
from tests.attention.by_hand import attended, pixels

PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


def by_hand(module: NonLocal, x: torch.Tensor) -> torch.Tensor:
    """Σⱼ f(xᵢ, xⱼ) g(xⱼ) / 𝒞 of one sample, (C, H, W) → (N, E), pair by pair."""
    queries, keys, values = (pixels(layer(x)) for layer in (module.query, module.key, module.value))
    if module.pairwise in ("embedded_gaussian", "gaussian"):
        return attended(queries, keys, values, module.scale)
    rows = []
    for query in queries:
        if module.pairwise == "dot_product":
            pair = [query @ key for key in keys]
        else:
            pair = [(module.join.weight[0] @ torch.cat([query, key])).clamp_min(0) for key in keys]
        rows.append(sum(f * value for f, value in zip(pair, values, strict=True)) / len(keys))
    return torch.stack(rows)


@torch.no_grad()
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_it_is_the_formula_pair_by_pair(pairwise, scale):
    torch.manual_seed(0)
    module = NonLocal(6, pairwise=pairwise, scale=scale, norm=None, key_bias=True)
    torch.nn.init.normal_(module.project[0].weight)
    x = torch.randn(2, 6, 3, 4)
    for sample, y in zip(x, module(x), strict=True):
        added = by_hand(module, sample) @ module.project[0].weight.flatten(1).T
        torch.testing.assert_close(pixels(y), pixels(sample) + added, rtol=1e-4, atol=1e-5)


def test_products_are_divided_by_the_root_of_their_width():
    assert NonLocal(16, width=4).scale == 1 / 2
    assert NonLocal(16, pairwise="gaussian").scale == 1 / 4
    assert NonLocal(16, scale=False).scale == 1


@pytest.mark.parametrize("norm", ["group", "batch", None])
def test_it_is_the_identity_at_first(norm):
    x = torch.randn(2, 16, 4, 3)
    assert torch.equal(NonLocal(16, norm=norm)(x), x)


@torch.no_grad()
def test_values_alike_everywhere_come_back_as_they_are():
    """Weights of each query over all keys sum to 1, where popular copies let those of each key do so."""
    module = NonLocal(8, norm=None)
    torch.nn.init.normal_(module.project[0].weight)
    module.value.weight.zero_()
    x = torch.randn(1, 8, 3, 4)
    expected = x + module.project(module.value.bias.reshape(1, -1, 1, 1))
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_subsampling_is_of_keys_and_values_only(pairwise):
    """A map of equal 2 × 2 blocks loses nothing by it."""
    torch.manual_seed(0)
    whole, half = (NonLocal(6, pairwise=pairwise, subsample=pooled, norm=None) for pooled in (False, True))
    torch.nn.init.normal_(whole.project[0].weight)
    half.load_state_dict(whole.state_dict())
    blocks = torch.randn(1, 6, 3, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(half(blocks), whole(blocks))
    x = torch.randn(1, 6, 6, 4)
    assert not torch.allclose(half(x), whole(x))


@torch.no_grad()
def test_subsampling_keeps_the_last_row_and_column_of_an_odd_map():
    torch.manual_seed(0)
    module = NonLocal(4, pairwise="dot_product", subsample=True, norm=None)
    torch.nn.init.normal_(module.project[0].weight)
    x = torch.randn(1, 4, 5, 5)
    other = x.clone()
    other[..., 4, 4] += 10
    assert not torch.allclose(module(x)[..., :4, :4], module(other)[..., :4, :4])


def test_sums_of_rectified_pairs_have_the_values_and_gradients_of_the_full_matrix():
    torch.manual_seed(0)
    left, right, values = (torch.randn(2, n, e).double().requires_grad_() for n, e in ((7, 1), (5, 1), (5, 3)))
    expected = torch.relu(left + right.mT) @ values
    sums = rectified_sums(left, right, values)
    torch.testing.assert_close(sums, expected)
    weight = torch.randn_like(sums)
    found, wanted = (torch.autograd.grad((y * weight).sum(), (left, right, values)) for y in (sums, expected))
    torch.testing.assert_close(found, wanted)


def test_a_width_of_nothing_is_refused():
    with pytest.raises(InputError, match="width 0 is empty; 8 is usual"):
        NonLocal(16, width=0)
