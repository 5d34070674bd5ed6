"""Attention-free transformer."""

import math

import pytest
import torch

from nowcast.attention.aft import AttentionFree
from nowcast.contracts import InputError

HEIGHT, WIDTH = 3, 4
POSITIONS = [(i, j) for i in range(HEIGHT) for j in range(WIDTH)]


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, HEIGHT, WIDTH)


def built(**options: object) -> AttentionFree:
    torch.manual_seed(1)
    module = AttentionFree(6, **options)
    with torch.no_grad():
        for name, weight in module.bias.named_parameters() if hasattr(module, "bias") else ():
            weight.normal_(std=1.0 if "gamma" not in name else 0.5)
    return module


def by_position(module: AttentionFree, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Token by token and channel by channel, with bias (N, N) or (N, N, C) of position t to position s."""
    q, k, v = (f(x).flatten(2) for f in (module.query, module.key, module.value))
    y = torch.zeros_like(v)
    for b, c, t in torch.cartesian_prod(*map(torch.arange, v.shape)).tolist():
        key = k[b, c * k.shape[1] // v.shape[1]]
        above = below = 0.0
        for s in range(v.shape[2]):
            w = bias[t, s] if bias.ndim == 2 else bias[t, s, c]
            weight = math.exp(key[s] + w)
            above, below = above + weight * v[b, c, s], below + weight
        y[b, c, t] = above / below / (1 + math.exp(-q[b, c, t]))
    return module.project(y.unflatten(2, x.shape[2:]))


@torch.no_grad()
def test_full_weighs_every_pair_of_positions(x):
    module = built(rank=5, size=(HEIGHT, WIDTH))
    left, right = module.bias.factors
    torch.testing.assert_close(module(x), by_position(module, x, left @ right.T))


@torch.no_grad()
def test_a_table_of_all_pairs_is_used_as_it_is_on_the_map_it_was_learnt_for(x):
    module = built(rank=None, size=(HEIGHT, WIDTH), project=False)
    torch.testing.assert_close(module(x), by_position(module, x, module.bias.factors[0]))


@torch.no_grad()
def test_the_table_is_interpolated_in_both_positions():
    """From 2 columns to 4, bilinear weights of the first are 1, ¾, ¼ and 0."""
    torch.manual_seed(0)
    module, x = built(rank=None, size=(1, 2)), torch.randn(2, 6, 1, 4)
    between = torch.tensor([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    torch.testing.assert_close(module(x), by_position(module, x, between @ module.bias.factors[0] @ between.T))


@torch.no_grad()
def test_local_has_no_bias_beyond_its_window_but_still_looks_there(x):
    module = built(variant="local", window=2, rank=None, size=(HEIGHT, WIDTH))
    bias = module.bias.factors[0].clone()
    for t, (i, j) in enumerate(POSITIONS):
        for s, (k, m) in enumerate(POSITIONS):
            if max(abs(i - k), abs(j - m)) >= 2:
                bias[t, s] = 0
    torch.testing.assert_close(module(x), by_position(module, x, bias), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_local_equals_full_when_the_window_holds_the_map(x):
    full, local = (built(variant=variant, rank=5, window=4, size=(2, 3)) for variant in ("full", "local"))
    torch.testing.assert_close(local(x), full(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_conv_has_one_key_a_head_and_standardised_biases_by_displacement(x):
    module = built(variant="conv", heads=2, kernel=3)
    assert module.key.out_channels == 2
    w = module.bias.weight
    bias = torch.zeros(len(POSITIONS), len(POSITIONS), 6)
    for t, (i, j) in enumerate(POSITIONS):
        for s, (k, m) in enumerate(POSITIONS):
            for c in range(6):
                head = c // 3
                if max(abs(k - i), abs(m - j)) <= 1:
                    normal = (w[head, k - i + 1, m - j + 1] - w[head].mean()) / w[head].std(correction=0)
                    bias[t, s, c] = module.bias.gamma[head] * normal + module.bias.beta[head]
    torch.testing.assert_close(module(x), by_position(module, x, bias), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_variant_without_bias_is_the_simple_one(x):
    simple = built(variant="simple")
    for options in ({"variant": "full"}, {"variant": "local"}, {"variant": "conv", "heads": 6}):
        module = AttentionFree(6, **options)
        module.load_state_dict(simple.state_dict(), strict=False)
        for weight in module.bias.parameters():
            weight.zero_()
        torch.testing.assert_close(module(x), simple(x))


@pytest.mark.parametrize("variant", ["full", "simple", "local", "conv"])
@torch.no_grad()
def test_only_differences_of_keys_count_so_that_no_key_is_too_large(x, variant):
    module = built(variant=variant)
    expected = module(x)
    module.key.bias += 500
    torch.testing.assert_close(module(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", ["local", "conv"])
@torch.no_grad()
def test_biases_of_any_size_keep_it_finite(x, variant):
    for value in (-200.0, 200.0):
        module = built(variant=variant, size=(1, 1), rank=None)
        for name, weight in module.bias.named_parameters():
            weight.fill_(0 if "gamma" in name else value)
        assert module(100 * x).isfinite().all()


def test_conv_learns_its_displacements_once_gamma_is_not_zero(x):
    module = built(variant="conv")
    (module(x) ** 2).sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in module.parameters())


@pytest.mark.parametrize(
    ("options", "told"), [({"kernel": 4}, "3 or 5"), ({"window": 0}, "1 or more"), ({"rank": 0}, "1 or more")]
)
def test_what_cannot_work_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        AttentionFree(6, **options)
