"""Losses of distributions: formulas as written, the right forecast is best, unknown pixels are not seen."""

import math

import pytest
import torch

from nowcast.contracts import InputError
from nowcast.likelihoods import AlmostFairCRPS, Categorical, Ordinal, Pinball, quantile_levels
from nowcast.losses import MAE, Loss, Sum
from nowcast.scaling import scale

EDGES = (0.5, 2.0, 10.0)
LOSSES: dict[str, Loss] = {
    "pinball": Pinball(levels=4),
    "categorical": Categorical(EDGES),
    "ordinal": Ordinal(EDGES),
    "crps": AlmostFairCRPS(),
    "fair crps": AlmostFairCRPS(alpha=1),
}


def fields() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four fields at each lead time, rates on both sides of every edge, some pixels unknown."""
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(2, 3, 4, 5, 7, generator=generator)
    target = 2 * torch.rand(2, 3, 1, 5, 7, generator=generator)
    return predicted, target, torch.rand(2, 3, 1, 5, 7, generator=generator) > 0.3


def one(values: list[float], rate: float | None = None, scaled: float = 0.0) -> tuple[torch.Tensor, ...]:
    """A forecast for one pixel, and what was observed there."""
    target = torch.full((1, 1, 1, 1, 1), scaled if rate is None else float(scale(torch.tensor(rate))[0]))
    return torch.tensor(values).reshape(1, 1, -1, 1, 1), target, torch.ones_like(target, dtype=torch.bool)


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_pixels_touch_neither_loss_nor_gradient(name: str) -> None:
    predicted, target, known = fields()
    loss = LOSSES[name]
    predicted.requires_grad_()
    value = loss(predicted, target, known)
    value.backward()
    assert (predicted.grad.movedim(2, 0)[:, ~known[:, :, 0]] == 0).all()
    assert (predicted.grad.movedim(2, 0)[:, known[:, :, 0]] != 0).any(dim=0).all()
    other = torch.where(known, target, torch.full_like(target, torch.nan))
    torch.testing.assert_close(loss(predicted, other, known), value)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_mean_over_known_pixels(name: str) -> None:
    predicted, target, known = fields()
    alone = [
        LOSSES[name](predicted[b, t, :, y, x].reshape(1, 1, -1, 1, 1), target[b, t, :, y, x].reshape(1, 1, 1, 1, 1),
                     torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
        for b, t, _, y, x in known.nonzero().tolist()
    ]  # fmt: skip
    torch.testing.assert_close(LOSSES[name](predicted, target, known), torch.stack(alone).mean())


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_known_pixel_costs_nothing(name: str) -> None:
    predicted, target, known = fields()
    assert LOSSES[name](predicted.requires_grad_(), target, torch.zeros_like(known)).item() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_of_32_bits(name: str) -> None:
    predicted, target, known = fields()
    rounded = predicted.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = LOSSES[name](rounded, target, known)
    assert low.dtype == torch.float32
    assert low.item() == LOSSES[name](rounded.float(), target, known).item()


def test_pinball_by_hand() -> None:
    """Observed 1.0: 0.25 · 0.6 below, nothing on it, (1 − 0.75) · 0.2 above."""
    assert Pinball(levels=3)(*one([0.4, 1.0, 1.2], scaled=1.0)).item() == pytest.approx((0.25 * 0.6 + 0.25 * 0.2) / 3)


def test_pinball_of_the_median_is_half_the_absolute_error() -> None:
    predicted, target, known = fields()
    error = MAE()(predicted[:, :, :1], target, known)
    torch.testing.assert_close(Pinball(levels=1)(predicted[:, :, :1], target, known), error / 2)


def test_pinball_is_least_at_the_quantiles_of_what_is_observed() -> None:
    sample = torch.linspace(0, 2, 1001).square().reshape(1, 1, 1, 7, 143)
    quantiles = torch.zeros(1, 1, 3, 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([quantiles], lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        Pinball(levels=[0.1, 0.5, 0.9])(
            quantiles.expand(-1, -1, -1, 7, 143), sample, sample.isfinite()
        ).backward()  # fmt: skip
        optimiser.step()
    torch.testing.assert_close(quantiles.detach().flatten(), torch.tensor([0.04, 1.0, 3.24]), atol=0.1, rtol=0)


@pytest.mark.parametrize(("rate", "bin_"), [(0, 0), (0.49, 0), (0.5, 1), (1.9, 1), (2, 2), (9, 2), (10, 3), (80, 3)])
def test_likelihoods_are_those_of_the_bin_that_holds_the_rate(rate: float, bin_: int) -> None:
    logits = [0.3, -1.0, 2.0, 0.5]
    probabilities = torch.tensor(logits).softmax(0).tolist()
    assert Categorical(EDGES)(*one(logits, rate)).item() == pytest.approx(-math.log(probabilities[bin_]), rel=1e-5)
    reached = [sum(probabilities[edge:]) for edge in (1, 2, 3)]
    expected = -sum(math.log(p if bin_ >= edge else 1 - p) for edge, p in enumerate(reached, start=1))
    assert Ordinal(EDGES)(*one(logits, rate)).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_ordinal_likelihood_knows_how_far_off_a_bin_is() -> None:
    near, far = [-4.0, -4.0, 4.0, -4.0], [4.0, -4.0, -4.0, -4.0]
    observed = 20.0
    assert Categorical(EDGES)(*one(near, observed)).item() == pytest.approx(
        Categorical(EDGES)(*one(far, observed)).item()
    )
    assert Ordinal(EDGES)(*one(near, observed)) < 0.5 * Ordinal(EDGES)(*one(far, observed))


@pytest.mark.parametrize("loss", [Categorical(EDGES), Ordinal(EDGES)], ids=["categorical", "ordinal"])
def test_likelihoods_are_proper(loss: Loss) -> None:
    """Where a tenth to four tenths of the pixels are in each bin, the best logits are those shares."""
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    rates = torch.tensor([0.0] * 4 + [1.0] * 3 + [5.0] * 2 + [20.0]).reshape(1, 1, 1, 2, 5)
    target, known = scale(rates)
    logits = shares.log().reshape(1, 1, 4, 1, 1).clone().requires_grad_()
    loss(logits.expand(-1, -1, -1, 2, 5), target, known).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits.grad), atol=1e-6, rtol=0)


def test_likelihoods_of_hopeless_logits_are_finite_and_learn() -> None:
    for loss in (Categorical(EDGES), Ordinal(EDGES)):
        logits, target, known = one([-300.0, 0.0, 0.0, 300.0], rate=0.0)
        value = loss(logits.requires_grad_(), target, known)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()
        assert logits.grad[0, 0, 0] < 0


def brute_force_crps(members: list[float], observed: float, alpha: float) -> float:
    """Lang et al. 2024, eq. 3 and 4, pair by pair."""
    count = len(members)
    epsilon = (1 - alpha) / count
    return sum(
        abs(first - observed) + abs(second - observed) - (1 - epsilon) * abs(first - second)
        for j, first in enumerate(members)
        for k, second in enumerate(members)
        if j != k
    ) / (2 * count * (count - 1))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(
    ("members", "observed"),
    [([0.0, 0.0, 3.0], 0.0), ([0.0, 0.0, 0.0], 0.0), ([1.0, 1.0, 2.0, 5.0], 1.0), ([0.3, 2.0], 0.7), ([4.0] * 5, 1.0)],
)
def test_crps_is_the_formula_of_the_paper_also_where_members_tie(
    members: list[float], observed: float, alpha: float
) -> None:
    value = AlmostFairCRPS(alpha)(*one(members, scaled=observed)).item()
    assert value == pytest.approx(brute_force_crps(members, observed, alpha), abs=1e-6)


def test_the_plain_score_of_a_lone_wet_member_is_a_third_and_the_fair_one_nothing() -> None:
    """Members 0, 0, 3 against 0: ∫ (F − 1)² is 3 · (1/3)² = 1/3; of three fair draws the mean is 0 there."""
    assert AlmostFairCRPS(alpha=0)(*one([0.0, 0.0, 3.0])).item() == pytest.approx(1 / 3)
    assert AlmostFairCRPS(alpha=1)(*one([0.0, 0.0, 3.0])).item() == pytest.approx(0, abs=1e-6)


def test_the_fair_score_of_draws_does_not_depend_on_how_many_there_are() -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(1, 1, 1, 200, 300, generator=generator)
    draws = torch.randn(1, 1, 8, 200, 300, generator=generator)
    known = torch.ones_like(target, dtype=torch.bool)
    expected = 1 / math.sqrt(math.pi)  # the CRPS of a standard normal forecast of itself
    for count in (2, 3, 8):
        assert AlmostFairCRPS(alpha=1)(draws[:, :, :count], target, known).item() == pytest.approx(expected, abs=0.006)
    assert AlmostFairCRPS(alpha=0)(draws[:, :, :2], target, known).item() > expected + 0.2


def test_tied_members_are_not_told_apart() -> None:
    members, target, known = one([1.0, 1.0, 1.0], scaled=2.0)
    AlmostFairCRPS(alpha=1)(members.requires_grad_(), target, known).backward()
    torch.testing.assert_close(members.grad.flatten(), torch.full((3,), -1 / 3))


def test_they_stand_in_weighted_sums() -> None:
    predicted, target, known = fields()
    both = Sum([Pinball(levels=4), AlmostFairCRPS()], weights=[2, 0.5])(predicted, target, known)
    alone = 2 * Pinball(levels=4)(predicted, target, known) + 0.5 * AlmostFairCRPS()(predicted, target, known)
    torch.testing.assert_close(both, alone)


def test_levels_are_even_or_as_given() -> None:
    assert quantile_levels(9) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert quantile_levels([0.05, 0.5, 0.99]) == (0.05, 0.5, 0.99)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pinball([0.5, 0.1]), "must rise between 0 and 1"),
        (lambda: Pinball([0.5, 1.0]), "must rise between 0 and 1"),
        (lambda: Pinball(0), "at least 1 quantile"),
        (lambda: Ordinal([1, 1]), "edges that rise"),
        (lambda: Categorical([0.01, 1]), "from at least 0.04 mm/h"),
        (lambda: AlmostFairCRPS(1.5), "from 0 to 1"),
        (lambda: AlmostFairCRPS()(*one([1.0])), "at least 2 members"),
        (lambda: Pinball(9)(*one([1.0, 2.0])), "Pinball has 9 levels, the network forecasts 2 fields"),
        (lambda: Categorical(EDGES)(*one([1.0, 2.0])), "Categorical has 4 bins, the network forecasts 2 fields"),
    ],
)
def test_what_cannot_be_is_said(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
