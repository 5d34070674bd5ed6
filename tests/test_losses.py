"""Losses: computed by hand, blind to unknown pixels, buildable from configs."""

import math

import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from nowcast.contracts import InputError
from nowcast.losses import (
    FACL,
    MAE,
    MSE,
    SSIM,
    Balanced,
    ExponentiallyWeighted,
    Huber,
    LeadTimeWeighted,
    Loss,
    MultiScale,
    SoftCSI,
    Sum,
)
from nowcast.scaling import scale
from nowcast.training import build

LOSSES = [
    MAE(),
    MSE(),
    Huber(),
    Balanced(),
    ExponentiallyWeighted(),
    LeadTimeWeighted(MSE(), last=3),
    LeadTimeWeighted(SSIM()),
    MultiScale(MAE(), scales=[1, 2, 4]),
    SoftCSI(),
    SSIM(),
    FACL(),
    FACL(calls=10),
    Sum([MAE(), SoftCSI(), MultiScale(SSIM())], weights=[1, 0.5, 2]),
]


def name(loss: Loss) -> str:
    inner = getattr(loss, "loss", None)
    return type(loss).__name__ + (f"-{type(inner).__name__}" if inner else "")


def fields() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 1, 5, 7)
    return (
        torch.rand(shape, generator=generator),
        2 * torch.rand(shape, generator=generator),
        torch.rand(shape, generator=generator) > 0.3,
    )


def at(rate: float, *shape: int) -> torch.Tensor:
    """A scaled field of one rate in mm/h."""
    return scale(torch.full(shape or (1, 1, 1, 1, 1), float(rate)))[0]


def everywhere(field: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(field, dtype=torch.bool)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_unknown_pixels_touch_neither_loss_nor_gradient(loss: Loss) -> None:
    predicted, target, known = fields()
    predicted.requires_grad_()
    value = loss.eval()(predicted, target, known)
    value.backward()
    assert value > 0
    assert (predicted.grad[~known] == 0).all()
    assert (predicted.grad[known] != 0).float().mean() > 0.9
    gradient, predicted.grad = predicted.grad, None
    for other in (9.0, torch.nan, torch.inf):
        worse = torch.where(known, predicted.detach(), other).requires_grad_()
        again = loss(worse, torch.where(known, target, other), known)
        again.backward()
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(worse.grad, gradient)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_batch_without_a_known_pixel_costs_nothing_and_is_finite(loss: Loss) -> None:
    predicted, target, known = fields()
    value = loss(predicted.requires_grad_(), target, torch.zeros_like(known))
    value.backward()
    assert value.item() == 0
    assert (predicted.grad == 0).all()


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_perfect_forecast_costs_least(loss: Loss) -> None:
    predicted, target, known = fields()
    perfect = loss.eval()(target, target, known).item()
    assert perfect < 0.35 * loss(predicted, target, known).item()
    if "SoftCSI" not in repr(loss):
        assert perfect == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_dry_forecast_of_rain_has_a_finite_gradient(loss: Loss) -> None:
    _, target, known = fields()
    predicted = torch.zeros_like(target, requires_grad=True)
    loss.eval()(predicted, target, known).backward()
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad.abs().max() < 1e3


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_loss_is_the_same_under_autocast(loss: Loss) -> None:
    predicted, target, known = fields()
    plain = loss.eval()(predicted, target, known)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(predicted, target, known), plain)


def test_means_are_over_known_pixels() -> None:
    predicted, target, known = fields()
    error = (predicted - target)[known]
    torch.testing.assert_close(MAE()(predicted, target, known), error.abs().mean())
    torch.testing.assert_close(MSE()(predicted, target, known), error.square().mean())


@pytest.mark.parametrize(
    ("error", "expected"), [(0.1, 0.005), (0.2, 0.02), (-0.2, 0.02), (0.5, 0.2 * (0.5 - 0.1)), (-1.0, 0.2 * 0.9)]
)
def test_huber_is_squared_within_delta_and_absolute_beyond(error: float, expected: float) -> None:
    target = at(1)
    assert Huber(delta=0.2)(target + error, target, everywhere(target)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0, 1), (1.9, 1), (2.0, 2), (4.9, 2), (5, 5), (9.9, 5), (10, 10), (29.9, 10), (30, 30)],
)
def test_balanced_weights_are_those_of_hko7(rate: float, weight: float) -> None:
    target, known = scale(torch.tensor([float(rate)]))
    error = 0.25
    expected = weight * (error + error**2)
    assert Balanced()(target + error, target, known).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("dbz", "weight"), [(0, 1), (5, math.sqrt(2)), (10, 2), (23, 4.925), (40, 16), (60, 30)])
def test_exponential_weights_double_every_ten_db_up_to_the_largest(dbz: float, weight: float) -> None:
    target = torch.full((1, 1, 1, 1, 1), dbz / 30)
    loss = ExponentiallyWeighted(mae_weight=1, mse_weight=2)
    expected = weight * (0.5 + 2 * 0.25)
    assert loss(target - 0.5, target, everywhere(target)).item() == pytest.approx(expected, rel=1e-3)


def test_later_lead_times_count_more() -> None:
    target = torch.zeros(1, 3, 1, 2, 5)
    predicted = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None, None].expand_as(target)
    known = everywhere(target).clone()
    known[:, 2, :, 0] = False  # half of the last lead time
    weights = [1 * 10, 2 * 10, 3 * 5]
    expected = (1 * weights[0] + 2 * weights[1] + 4 * weights[2]) / sum(weights)
    assert LeadTimeWeighted(MAE(), last=3)(predicted, target, known).item() == pytest.approx(expected)


def test_even_weights_of_lead_times_change_nothing() -> None:
    torch.testing.assert_close(LeadTimeWeighted(Balanced(), last=1)(*fields()), Balanced()(*fields()))


def test_a_pyramid_averages_known_pixels_and_forgives_small_shifts() -> None:
    target = torch.zeros(1, 1, 1, 2, 4)
    target[..., 0, 0] = 1.0
    shifted = target.roll((1, 1), dims=(-2, -1))
    far = target.roll(2, dims=-1)
    pyramid = MultiScale(MAE(), scales=[1, 2], weights=[1, 3])
    known = everywhere(target)
    assert pyramid(shifted, target, known).item() == pytest.approx((1 * 2 / 8 + 3 * 0) / 4)
    assert pyramid(far, target, known).item() == pytest.approx((1 * 2 / 8 + 3 * (0.25 + 0.25) / 2) / 4)
    known[..., 1, 0] = known[..., 1, 1] = False  # the first block is half known: its mean is over two pixels
    dry = torch.zeros_like(target)
    assert pyramid(dry, target, known).item() == pytest.approx((1 * 1 / 6 + 3 * (0.5 + 0) / 2) / 4)
    known[..., 0, 1] = False  # and now one in four: too little to count
    assert pyramid(dry, target, known).item() == pytest.approx((1 * 1 / 5 + 3 * 0) / 4)


def test_blocks_over_the_edge_average_what_is_inside() -> None:
    target = torch.zeros(1, 1, 1, 3, 3)
    predicted = target.clone()
    predicted[..., 2, 2] = 1.0  # a block of its own at scale 2
    loss = MultiScale(MAE(), scales=[2])
    assert loss(predicted, target, everywhere(target)).item() == pytest.approx(1 / 4)


def test_soft_csi_of_a_hard_forecast_is_csi() -> None:
    generator = torch.Generator().manual_seed(1)
    observed = 20 * torch.rand((2, 3, 1, 9, 11), generator=generator)
    forecast = 20 * torch.rand((2, 3, 1, 9, 11), generator=generator)
    (predicted, _), (target, known) = scale(forecast), scale(observed)
    expected = []
    for threshold in (2.0, 8.0):
        for lead in range(3):
            yes, event = forecast[:, lead] >= threshold, observed[:, lead] >= threshold
            hits, union = (yes & event).sum().item(), (yes | event).sum().item()
            expected.append(1 - (hits + 1) / (union + 1))
    loss = SoftCSI(thresholds=[2, 8], width_db=1e-3)(predicted, target, known).item()
    assert loss == pytest.approx(sum(expected) / len(expected), rel=1e-3)


def test_soft_csi_counts_a_pixel_at_the_threshold_as_half() -> None:
    known = everywhere(at(5, 1, 1, 1, 2, 3))
    loss = SoftCSI(thresholds=[5])(at(5, 1, 1, 1, 2, 3), at(6, 1, 1, 1, 2, 3), known)
    assert loss.item() == pytest.approx(1 - (6 * 0.5 + 1) / (6 + 1), rel=1e-4)
    assert SoftCSI(thresholds=[5])(at(0), at(0), everywhere(at(0))).item() == pytest.approx(0, abs=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    generator = torch.Generator().manual_seed(2)
    predicted, target = torch.rand((2, 1, 1, 1, 24, 31), generator=generator)
    _, expected = structural_similarity(
        predicted[0, 0, 0].numpy(),
        target[0, 0, 0].numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=2.0,
        full=True,
    )
    ours = SSIM().similarity(predicted, target, everywhere(target))[0, 0, 0]
    inner = slice(5, -5)  # beyond, scikit-image mirrors at the border and we know nothing
    torch.testing.assert_close(ours[inner, inner], torch.from_numpy(expected)[inner, inner], atol=1e-4, rtol=1e-4)


def test_ssim_next_to_unknown_pixels_is_that_of_the_known_ones_in_the_window() -> None:
    predicted, target, known = fields()
    ssim = SSIM(sigma=1.0, reach=1)
    row, column = 2, 3
    known[0, 0, 0, row, column] = True
    near = (slice(row - 1, row + 2), slice(column - 1, column + 2))
    weight = torch.exp(-0.5 * torch.tensor([[2.0, 1, 2], [1, 0, 1], [2, 1, 2]])) * known[0, 0, 0][near]
    weight = weight / weight.sum()
    x, y = predicted[0, 0, 0][near], target[0, 0, 0][near]
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    variance = (weight * (x - mean_x) ** 2).sum() + (weight * (y - mean_y) ** 2).sum()
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.02**2, 0.06**2
    expected = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variance + c2))
    hidden = [torch.where(known, field, 0.0) for field in (predicted, target)]
    torch.testing.assert_close(ssim.similarity(*hidden, known)[0, 0, 0, row, column], expected, atol=1e-5, rtol=1e-4)


def test_facl_is_that_of_the_paper_where_all_is_known() -> None:
    predicted, target, _ = fields()
    a, b = (torch.fft.fft2(field, norm="ortho") for field in (predicted, target))
    amplitude = F.mse_loss(a.abs(), b.abs())
    correlation = 1 - (a.conj() * b).sum().real / (a.abs().square().sum() * b.abs().square().sum()).sqrt()
    for share in (0, 0.3, 1):
        expected = math.sqrt(5 * 7) * (share * amplitude + (1 - share) * correlation)
        loss = FACL(amplitude_share=share)(predicted, target, everywhere(target))
        torch.testing.assert_close(loss, expected)


def test_the_amplitude_is_blind_to_position_and_the_correlation_to_size() -> None:
    _, target, _ = fields()
    known = everywhere(target)
    moved = target.roll((2, 3), dims=(-2, -1))
    assert FACL(amplitude_share=1)(moved, target, known).item() == pytest.approx(0, abs=1e-5)
    assert FACL(amplitude_share=0)(moved, target, known).item() > 0.1
    assert FACL(amplitude_share=0)(2 * target, target, known).item() == pytest.approx(0, abs=1e-5)
    assert FACL(amplitude_share=1)(2 * target, target, known).item() > 0.1


def test_facl_goes_from_correlation_to_amplitude_in_training_and_resumes() -> None:
    predicted, target, known = fields()
    amplitude = FACL(amplitude_share=1)(predicted, target, known)
    loss = FACL(calls=200, amplitude_last=0.5)
    taken = []
    for call in range(200):
        if call == 70:
            state, loss = loss.state_dict(), FACL(calls=200, amplitude_last=0.5)
            loss.load_state_dict(state)
        if call % 10 == 0:
            loss.eval()(predicted, target, known)  # a validation in between takes no part
        taken.append(bool(loss.train()(predicted, target, known) == amplitude))
    assert not taken[0]
    assert all(taken[100:])
    assert [sum(taken[k : k + 20]) / 20 for k in range(0, 100, 20)] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.1)


def test_a_sum_is_the_weighted_sum() -> None:
    loss = Sum([MAE(), MSE(), SoftCSI()], weights=[1, 0.5, 3])
    expected = MAE()(*fields()) + 0.5 * MSE()(*fields()) + 3 * SoftCSI()(*fields())
    torch.testing.assert_close(loss(*fields()), expected)
    torch.testing.assert_close(Sum([MAE(), MSE()])(*fields()), MAE()(*fields()) + MSE()(*fields()))


def test_a_config_builds_losses_within_losses() -> None:
    task = build(
        {
            "network": {"class_path": "torch.nn.Identity"},
            "loss": {
                "class_path": "nowcast.losses.Sum",
                "init_args": {
                    "losses": [
                        {"class_path": "nowcast.losses.Balanced", "init_args": {"mse_weight": 2.0}},
                        {
                            "class_path": "nowcast.losses.LeadTimeWeighted",
                            "init_args": {"loss": {"class_path": "nowcast.losses.SSIM"}, "last": 3},
                        },
                        {"class_path": "nowcast.losses.FACL", "init_args": {"calls": 100}},
                    ],
                    "weights": [1, 0.5, 0.01],
                },
            },
        }
    )
    parts = [Balanced(mse_weight=2.0), LeadTimeWeighted(SSIM(), last=3), FACL(calls=100)]
    torch.testing.assert_close(task.eval().loss(*fields()), Sum(parts, [1, 0.5, 0.01]).eval()(*fields()))


@pytest.mark.parametrize("loss", [MAE, MSE, Huber, Balanced, ExponentiallyWeighted, SoftCSI, SSIM, FACL])
def test_every_loss_has_its_class_path(loss: type[Loss]) -> None:
    path = f"nowcast.losses.{loss.__name__}"
    task = build({"network": {"class_path": "torch.nn.Identity"}, "loss": {"class_path": path}})
    assert type(task.loss) is loss


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Huber(delta=0),
        lambda: Balanced(thresholds=[5, 2], weights=[1, 1]),
        lambda: Balanced(thresholds=[5], weights=[1, 1]),
        lambda: ExponentiallyWeighted(doubling_dbz=-1),
        lambda: LeadTimeWeighted(MAE(), last=0),
        lambda: MultiScale(MAE(), scales=[]),
        lambda: MultiScale(MAE(), scales=[1, 2], weights=[1]),
        lambda: MultiScale(MAE(), scales=[0]),
        lambda: SoftCSI(thresholds=[0]),
        lambda: SSIM(reach=0),
        lambda: FACL(calls=0),
        lambda: FACL(amplitude_share=2),
        lambda: Sum([]),
        lambda: Sum([MAE()], weights=[1, 2]),
    ],
)
def test_options_that_make_no_sense_are_said(wrong) -> None:
    with pytest.raises(InputError, match="needs"):
        wrong()
