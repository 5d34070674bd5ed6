"""Soft and hard attention of Show, Attend and Tell."""

import math

import pytest
import torch
from torch import nn

from nowcast.attention.hard_spatial import HardSpatialAttention
from nowcast.attention.soft_spatial import SoftSpatialAttention
from nowcast.contracts import InputError


def probabilities(module: SoftSpatialAttention, pixels: list[torch.Tensor]) -> torch.Tensor:
    """One score at a time; the mean asks."""
    score, asked = module.score, sum(pixels) / len(pixels)
    scores = []
    for pixel in pixels:
        hidden = score.key.weight @ pixel + score.key.bias + score.query.weight @ asked + score.query.bias
        hidden = hidden.clamp_min(0) if isinstance(score.activate, nn.ReLU) else torch.tanh(hidden)
        scores.append(torch.exp(score.score.weight[0] @ hidden))
    return torch.stack(scores) / sum(scores)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("gate", ["scalar", "vector"])
def test_every_pixel_is_told_the_weighted_mean(activation, gate):
    torch.manual_seed(0)
    module = SoftSpatialAttention(4, width=5, activation=activation, gate=gate)
    x = torch.randn(2, 4, 2, 3)
    for b in range(2):
        pixels = list(x[b].flatten(1).T)
        weights = probabilities(module, pixels)
        context = sum(weight * pixel for weight, pixel in zip(weights, pixels, strict=True))
        beta = 1 / (1 + torch.exp(-(module.gate.weight @ (sum(pixels) / 6) + module.gate.bias)))
        torch.testing.assert_close(module(x)[b], x[b] + (beta * context)[:, None, None])
        torch.testing.assert_close(module.weights(x)[b].flatten(), weights)


@torch.no_grad()
def test_the_penalty_is_zero_where_every_pixel_has_its_turn():
    """Four frames of four pixels, each with all weight on another; and four with all on the same."""
    module = SoftSpatialAttention(1, activation="relu")
    for weight in module.score.parameters():
        weight.zero_()
    module.score.key.weight.fill_(1)
    module.score.score.weight.fill_(1)
    turns = 50 * torch.eye(4).view(1, 4, 1, 2, 2)
    torch.testing.assert_close(module.penalty(turns), torch.zeros(1))
    torch.testing.assert_close(module.penalty(turns[:, :1].expand(-1, 4, -1, -1, -1)), torch.tensor([9.0 + 3.0]))


@torch.no_grad()
def test_once_trained_the_likeliest_pixel_is_taken():
    torch.manual_seed(0)
    module = HardSpatialAttention(4).eval()
    x = torch.randn(3, 4, 2, 3)
    for b in range(3):
        pixels = list(x[b].flatten(1).T)
        chosen = pixels[probabilities(module, pixels).argmax()]
        beta = torch.sigmoid(module.gate(sum(pixels) / 6))
        torch.testing.assert_close(module(x)[b], x[b] + (beta * chosen)[:, None, None])


@torch.no_grad()
def test_in_training_pixels_are_drawn_as_often_as_they_are_likely():
    torch.manual_seed(0)
    module = HardSpatialAttention(1, expected=0).train()
    scores = torch.tensor([0.0, 1.0, 2.0]).expand(20_000, 3)
    shares = module.shares(scores)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(20_000))
    assert shares.amax(dim=1).min() > 0.999
    torch.testing.assert_close(shares.mean(dim=0), scores[0].softmax(dim=0), atol=0.015, rtol=0)


@torch.no_grad()
def test_the_mean_is_taken_as_often_as_asked():
    torch.manual_seed(0)
    scores = torch.zeros(10_000, 4)
    for expected in (0, 0.3, 1):
        averaged = HardSpatialAttention(1, expected=expected).train().shares(scores).amax(dim=1) < 0.5
        assert abs(averaged.float().mean() - expected) < 0.02


def test_draws_pass_a_gradient_to_the_scores():
    scores = torch.randn(1, 5, requires_grad=True)
    torch.manual_seed(0)
    shares = HardSpatialAttention(1, expected=0).train().shares(scores)
    (shares * torch.arange(5.0)).sum().backward()
    assert scores.grad.abs().min() > 0


@torch.no_grad()
def test_the_entropy_is_that_of_the_probabilities():
    module = HardSpatialAttention(4)
    x = torch.randn(2, 4, 2, 3)
    for b in range(2):
        chances = probabilities(module, list(x[b].flatten(1).T))
        torch.testing.assert_close(module.entropy(x)[b], -sum(chance * chance.log() for chance in chances))
    torch.testing.assert_close(module.entropy(torch.zeros(1, 4, 2, 3)), torch.tensor([math.log(6)]))


@pytest.mark.parametrize("options", [{"temperature": 0}, {"expected": 1.5}])
def test_what_cannot_be_drawn_with_is_refused(options):
    with pytest.raises(InputError, match=r"1 and 0\.5"):
        HardSpatialAttention(8, **options)
