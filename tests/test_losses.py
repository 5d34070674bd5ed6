"""Losses: computed by hand, blind to unknown pixels."""

import pytest
import torch

from nowcast.contracts import InputError
from nowcast.losses import MAE, MSE, Balanced, Loss
from nowcast.scaling import scale

LOSSES = [MAE(), MSE(), Balanced()]


def fields() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 1, 5, 7)
    return (
        torch.rand(shape, generator=generator),
        2 * torch.rand(shape, generator=generator),
        torch.rand(shape, generator=generator) > 0.3,
    )


def test_means_are_over_known_pixels() -> None:
    predicted, target, known = fields()
    error = (predicted - target)[known]
    torch.testing.assert_close(MAE()(predicted, target, known), error.abs().mean())
    torch.testing.assert_close(MSE()(predicted, target, known), error.square().mean())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_unknown_pixels_touch_neither_loss_nor_gradient(loss: Loss) -> None:
    predicted, target, known = fields()
    predicted.requires_grad_()
    loss(predicted, target, known).backward()
    assert (predicted.grad[~known] == 0).all()
    assert (predicted.grad[known] != 0).any()
    other = torch.where(known, target, torch.full_like(target, 9.0))
    torch.testing.assert_close(loss(predicted, target, known), loss(predicted, other, known))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_batch_without_a_known_pixel_costs_nothing_and_is_finite(loss: Loss) -> None:
    predicted, target, known = fields()
    assert loss(predicted.requires_grad_(), target, torch.zeros_like(known)).item() == 0


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0, 1), (1.9, 1), (2.0, 2), (4.9, 2), (5, 5), (9.9, 5), (10, 10), (29.9, 10), (30, 30)],
)
def test_balanced_weights_are_those_of_hko7(rate: float, weight: float) -> None:
    target, known = scale(torch.tensor([float(rate)]))
    error = 0.25
    expected = weight * (error + error**2)
    assert Balanced()(target + error, target, known).item() == pytest.approx(expected, rel=1e-5)


def test_balanced_needs_a_weight_for_each_rising_threshold() -> None:
    with pytest.raises(InputError):
        Balanced(thresholds=[5, 2], weights=[1, 1])
    with pytest.raises(InputError):
        Balanced(thresholds=[5], weights=[1, 1])
