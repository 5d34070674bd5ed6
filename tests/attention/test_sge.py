"""Spatial group-wise enhance."""

import pytest
import torch

from nowcast.attention.sge import SpatialGroupEnhance
from nowcast.contracts import InputError


@torch.no_grad()
@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_a_position_is_gated_by_its_standardised_likeness_to_the_groups_mean(size):
    """At size 1e-5 likeness is of order 1e-10: an ε added to the variance instead would show."""
    torch.manual_seed(0)
    module = SpatialGroupEnhance(6, groups=2, epsilon=1e-10)
    torch.nn.init.normal_(module.gamma)
    torch.nn.init.normal_(module.beta)
    x = size * torch.randn(2, 6, 3, 5)
    expected = torch.empty_like(x)
    for b, g in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
        part = x[b, 3 * g : 3 * g + 3]
        mean = [part[c].sum() / 15 for c in range(3)]
        likeness = sum(mean[c] * part[c] for c in range(3))  # (H, W)
        deviation = (((likeness - likeness.mean()) ** 2).sum() / 14) ** 0.5
        logits = module.gamma[g] * (likeness - likeness.mean()) / (deviation + 1e-10) + module.beta[g]
        expected[b, 3 * g : 3 * g + 3] = part / (1 + torch.exp(-logits))
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-6 * size)


@torch.no_grad()
def test_it_starts_as_one_gate_of_sigma_one_everywhere():
    """β starts at one; popular copies start it at zero, which would halve the signal."""
    x = torch.randn(2, 6, 3, 5)
    torch.testing.assert_close(SpatialGroupEnhance(6)(x), x * torch.sigmoid(torch.ones(())))


@torch.no_grad()
def test_what_resembles_the_mean_is_raised_above_what_opposes_it():
    module = SpatialGroupEnhance(2, groups=1)
    torch.nn.init.ones_(module.gamma)
    x = torch.tensor([[1.0, 2.0]]).reshape(1, 2, 1, 1) * torch.tensor([3.0, 1.0, -1.0])
    gate = (module(x) / x)[0, 0, 0]
    assert gate[0] > gate[1] > gate[2]
    torch.testing.assert_close(gate[0], torch.sigmoid(torch.tensor(1 + 1.0)))  # (3 − 1) / std(3, 1, −1)


def test_a_flat_map_gives_beta_and_finite_gradients():
    module = SpatialGroupEnhance(6)
    torch.nn.init.ones_(module.gamma)
    for x in (torch.zeros(1, 6, 3, 5), torch.randn(1, 6, 1, 1)):
        x.requires_grad_()
        y = module(x)
        torch.testing.assert_close(y, x * torch.sigmoid(torch.ones(())))
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.isfinite().all()


def test_groups_default_to_what_of_64_divides_the_channels():
    assert [SpatialGroupEnhance(channels).groups for channels in (6, 48, 64, 96, 256)] == [2, 16, 64, 32, 64]
    with pytest.raises(InputError, match="1, 2, 3, 6 would do"):
        SpatialGroupEnhance(6, groups=4)
