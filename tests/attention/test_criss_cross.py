"""Criss-cross attention."""

import pytest
import torch

from nowcast.attention.criss_cross import CrissCrossAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended


def crossed(module: CrissCrossAttention, x: torch.Tensor) -> torch.Tensor:
    """One pass over one sample (C, H, W), pixel by pixel."""
    queries, keys, values = (layer(x[None])[0] for layer in (module.query, module.key, module.value))
    y = x.clone()
    _, height, width = x.shape
    for i in range(height):
        for j in range(width):
            cross = [(i, v) for v in range(width)] + [(u, j) for u in range(height) if u != i]
            key, value = (torch.stack([maps[:, u, v] for u, v in cross]) for maps in (keys, values))
            y[:, i, j] += module.gamma * attended(queries[None, :, i, j], key, value)[0]
    return y


@torch.no_grad()
@pytest.mark.parametrize("recurrence", [1, 2, 3])
def test_it_is_the_formula_pixel_by_pixel_in_every_pass(recurrence):
    torch.manual_seed(0)
    module, x = CrissCrossAttention(6, reduction=2, recurrence=recurrence), torch.randn(2, 6, 3, 4)
    module.gamma.fill_(0.7)
    for sample, y in zip(x, module(x), strict=True):
        for _ in range(recurrence):
            sample = crossed(module, sample)
        torch.testing.assert_close(y, sample)


def test_it_is_the_identity_at_first():
    x = torch.randn(2, 16, 4, 3)
    assert torch.equal(CrissCrossAttention(16)(x), x)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pixel_counts_itself_once(dtype):
    """With equal weights for all, it has 1 / (H + W − 1) of them; copies that forget the mask give it twice that."""
    module = CrissCrossAttention(4, recurrence=1).to(dtype)
    for weight in module.parameters():
        weight.zero_()
    module.gamma.fill_(1)
    module.value.weight.copy_(torch.eye(4)[..., None, None])
    x = torch.zeros(1, 4, 3, 6, dtype=dtype)
    x[0, :, 1, 2] = 8
    received = (module(x) - x)[0, 0]
    expected = torch.zeros(3, 6)
    expected[1], expected[:, 2] = 1, 1
    torch.testing.assert_close(received.float(), expected)


@torch.no_grad()
def test_a_single_pixel_attends_to_itself_alone():
    module, x = CrissCrossAttention(8, recurrence=1), torch.randn(2, 8, 1, 1)
    module.gamma.fill_(0.5)
    torch.testing.assert_close(module(x), x + 0.5 * module.value(x))


@torch.no_grad()
@pytest.mark.parametrize(("recurrence", "reached"), [(1, 3 + 4 - 1), (2, 3 * 4)])
def test_one_pass_reaches_a_cross_and_two_reach_the_whole_map(recurrence, reached):
    torch.manual_seed(0)
    module, x = CrissCrossAttention(8, recurrence=recurrence).double(), torch.randn(1, 8, 3, 4).double()
    module.gamma.fill_(1.0)
    other = x.clone()
    other[0, :, 1, 1] += 1
    assert ((module(other) - module(x)).abs().amax(dim=1) > 1e-9).sum() == reached


@torch.no_grad()
def test_the_bias_of_the_keys_has_no_effect():
    module, x = CrissCrossAttention(8, key_bias=True), torch.randn(1, 8, 3, 4)
    module.gamma.fill_(1.0)
    expected = module(x)
    module.key.bias.add_(3)
    torch.testing.assert_close(module(x), expected)


def test_no_pass_is_refused():
    with pytest.raises(InputError, match="recurrence"):
        CrissCrossAttention(8, recurrence=0)
