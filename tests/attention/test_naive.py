"""Textbook twins of the costly mechanisms: every large matrix written out, same weights, same output."""

import pytest
import torch

from nowcast.attention.non_local import NonLocal
from scripts.naive_attention import TWINS
from tests.attention.test_contract import built, maps


@pytest.mark.parametrize("name", TWINS)
def test_a_mechanism_equals_its_textbook_twin(name):
    module, x = built(name).double(), maps(name, 6, 9).double()
    mine, twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = module(mine), TWINS[name](module, twin)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(mine.grad, twin.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
def test_all_four_pairwise_functions_of_non_local_equal_their_twins(pairwise):
    torch.manual_seed(0)
    module, x = NonLocal(8, pairwise=pairwise, norm=None).double(), torch.randn(2, 8, 3, 5).double()
    torch.nn.init.normal_(module.project[-1].weight)
    torch.testing.assert_close(module(x), TWINS["non_local"](module, x), rtol=1e-9, atol=1e-9)
