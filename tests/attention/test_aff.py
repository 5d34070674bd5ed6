"""Attentional feature fusion, once and iterated."""

import pytest
import torch

from nowcast.attention.aff import AttentionalFusion
from nowcast.attention.iaff import IterativeAttentionalFusion
from nowcast.contracts import InputError

FUSIONS = [AttentionalFusion, IterativeAttentionalFusion]


def two_maps() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4)


def mixed(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Value by value."""
    values = [g * a + (1 - g) * b for a, b, g in zip(x.flatten(), y.flatten(), gate.flatten(), strict=True)]
    return torch.stack(values).view(x.shape)


@torch.no_grad()
@pytest.mark.parametrize(("form", "scale"), [("paper", 1), ("code", 2)])
def test_aff_mixes_value_by_value_and_the_code_doubles(form, scale):
    torch.manual_seed(0)
    x, y = two_maps()
    module = AttentionalFusion(8, form=form)
    torch.testing.assert_close(module(x, y), scale * mixed(x, y, module.attention.gate(x + y)))


@torch.no_grad()
def test_iaff_fuses_again_by_a_gate_on_the_first_fusion():
    torch.manual_seed(0)
    x, y = two_maps()
    module = IterativeAttentionalFusion(8)
    first = mixed(x, y, module.first.gate(x + y))
    torch.testing.assert_close(module(x, y), mixed(x, y, module.again.gate(first)))


def test_the_second_context_of_iaff_is_idle_in_the_released_code_alone():
    x, y = two_maps()
    for form, idle in (("paper", False), ("code", True)):
        module = IterativeAttentionalFusion(8, form=form)
        module(x, y).sum().backward()
        gradients = [weight.grad for weight in module.again.context.parameters()]
        assert [gradient is None for gradient in gradients] == [idle] * len(gradients)


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_equal_maps_are_left_as_they_are(fusion):
    x, _ = two_maps()
    torch.testing.assert_close(fusion(8)(x, x), x)


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_value_is_between_those_of_the_two_maps(fusion):
    x, y = two_maps()
    z = fusion(8)(x, y)
    assert (z >= torch.minimum(x, y) - 1e-6).all()
    assert (z <= torch.maximum(x, y) + 1e-6).all()


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_map_is_fused_with_its_convolution(fusion):
    x, _ = two_maps()
    module = fusion(8)
    torch.testing.assert_close(module(x), module(x, module.second.conv(x)))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_maps_of_different_shapes_and_a_missing_second_one_are_refused(fusion):
    x, y = two_maps()
    with pytest.raises(InputError, match="one shape"):
        fusion(8)(x, y[..., :2])
    with pytest.raises(InputError, match="second one"):
        fusion(8, branch=False)(x)
    assert sum(weight.numel() for weight in fusion(64, branch=False).parameters()) in (4576, 9152)
