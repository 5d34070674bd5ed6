"""Class-specific residual attention."""

import math

import pytest
import torch

from nowcast.attention.csra import ClassSpecificResidualAttention
from nowcast.contracts import InputError


def softly_largest(values: list[torch.Tensor], temperature: float) -> torch.Tensor:
    if temperature == math.inf:
        return max(values)
    weights = [torch.exp(temperature * value) for value in values]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


@torch.no_grad()
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("temperatures", [(1,), (1, 2.5, math.inf)])
def test_it_is_the_formula_class_by_class(temperatures, normalise):
    torch.manual_seed(0)
    module = ClassSpecificResidualAttention(5, classes=3, temperatures=temperatures, residual=0.3, normalise=normalise)
    x = torch.randn(2, 5, 3, 4)
    for b in range(2):
        for k in range(3):
            total = 0
            for classifier, temperature in zip(module.classifiers, temperatures, strict=True):
                weight = classifier[k]
                length = (weight * weight).sum().sqrt() if normalise else 1
                scores = [weight @ x[b, :, i, j] / length for i in range(3) for j in range(4)]
                total += sum(scores) / 12 + 0.3 * softly_largest(scores, temperature)
            torch.testing.assert_close(module.logits(x)[b, k], total)


@torch.no_grad()
def test_scores_gate_the_channels():
    torch.manual_seed(0)
    module = ClassSpecificResidualAttention(6)
    x = torch.randn(2, 6, 3, 4)
    expected = x / (1 + torch.exp(-module.logits(x)))[:, :, None, None]
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_a_growing_temperature_goes_from_the_mean_to_the_maximum():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 4)
    modules = [ClassSpecificResidualAttention(6, temperatures=(t,)) for t in (1e-6, 1, 1e4, math.inf)]
    for module in modules:
        module.load_state_dict(modules[0].state_dict())
    cold, one, hot, hottest = (module.logits(x) for module in modules)
    mean = torch.einsum("k c, b c -> b k", module.classifiers[0], x.mean(dim=(2, 3)))
    lengths = module.classifiers[0].norm(dim=1)
    torch.testing.assert_close(cold, 1.2 * mean / lengths, rtol=1e-4, atol=1e-5)
    assert (one > cold).all()
    assert (hot > one).all()
    torch.testing.assert_close(hot, hottest)


@torch.no_grad()
def test_the_length_of_a_classifier_does_not_matter():
    torch.manual_seed(0)
    module = ClassSpecificResidualAttention(6)
    x = torch.randn(2, 6, 3, 4)
    before = module(x)
    module.classifiers[0].mul_(torch.rand(6, 1) + 1)
    torch.testing.assert_close(module(x), before)


def test_no_temperature_and_a_map_of_other_than_c_classes_are_refused():
    with pytest.raises(InputError, match="temperature"):
        ClassSpecificResidualAttention(6, temperatures=())
    with pytest.raises(InputError, match="leave out classes"):
        ClassSpecificResidualAttention(6, classes=3)(torch.zeros(1, 6, 2, 2))
