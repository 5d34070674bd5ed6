"""Channel attention of the dual attention network."""

import pytest
import torch

from nowcast.attention.cam import ChannelAttention
from tests.attention.by_hand import attended


@torch.no_grad()
@pytest.mark.parametrize(("divisor", "scale"), [(None, 1.0), ("root", 6**-0.5), ("pixels", 1 / 6)])
def test_it_is_the_formula_channel_by_channel(divisor, scale):
    torch.manual_seed(0)
    module, x = ChannelAttention(5, divisor=divisor), torch.randn(2, 5, 2, 3)
    module.gamma.fill_(0.7)
    for sample, y in zip(x, module(x), strict=True):
        rows = sample.flatten(1)
        expected = rows + 0.7 * attended(rows, rows, rows, scale)
        torch.testing.assert_close(y.flatten(1), expected)


@torch.no_grad()
def test_the_released_form_takes_products_off_the_maximum():
    torch.manual_seed(0)
    module, x = ChannelAttention(5, form="code"), torch.randn(1, 5, 2, 3)
    module.gamma.fill_(1.0)
    rows = x[0].flatten(1)
    energy = rows @ rows.T
    weights = (energy.amax(dim=1, keepdim=True) - energy).softmax(dim=1)
    torch.testing.assert_close(module(x)[0].flatten(1), rows + weights @ rows)


@torch.no_grad()
def test_only_the_papers_form_draws_like_channels_together():
    like, unlike = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    x = torch.stack([like, 1.5 * like, unlike]).reshape(1, 3, 2, 2)
    for form, drawn in (("paper", True), ("code", False)):
        module = ChannelAttention(3, form=form)
        module.gamma.fill_(1.0)
        first = (module(x) - x)[0, 0].flatten()
        assert bool(first[0] > first[2]) == drawn


def test_it_is_the_identity_at_first():
    x = torch.randn(2, 16, 4, 3)
    assert torch.equal(ChannelAttention(16)(x), x)


@torch.no_grad()
def test_undivided_products_of_a_large_map_leave_each_channel_to_itself():
    torch.manual_seed(0)
    x = 0.2 * torch.randn(1, 8, 64, 64) + torch.randn(1, 1, 64, 64)
    for divisor, alone in ((None, True), ("root", False), ("pixels", False)):
        module = ChannelAttention(8, divisor=divisor)
        module.gamma.fill_(1.0)
        assert torch.allclose(module(x), 2 * x, atol=1e-3) == alone


@torch.no_grad()
def test_autocast_keeps_the_digits_of_sums_over_many_pixels():
    torch.manual_seed(0)
    module, x = ChannelAttention(4), torch.randn(1, 1, 64, 64) + 0.02 * torch.randn(1, 4, 64, 64)
    module.gamma.fill_(1.0)
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(x), expected, rtol=0.02, atol=0.02)
