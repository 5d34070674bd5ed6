"""What is derived from a forecast distribution: from known distributions what is known of them."""

import math

import pytest
import torch

from nowcast.contracts import InputError
from nowcast.models._output import RATE_GROWTH, BinOutput, MemberOutput, Output, QuantileOutput
from nowcast.scaling import HIGHEST_RATE, scale, unscale

QS = [0.01, 0.1, 0.25, 0.5, 0.77, 0.9, 0.97, 0.999]
RATES = [0.0, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 80.0, 5000.0]
EDGES = (0.5, 1.0, 2.0, 10.0)


def pixel(*values: float) -> torch.Tensor:
    """Fields (1, 1, K, 1, 1) of one pixel."""
    return torch.tensor(values).reshape(1, 1, -1, 1, 1)


def scaled(rate: float) -> float:
    return float(scale(torch.tensor(rate))[0])


def cases() -> dict[str, tuple[Output, torch.Tensor]]:
    """Each output with random fields (2, 3, K, 5, 7), a third of the pixels mostly dry."""
    generator = torch.Generator().manual_seed(0)

    def noise(count: int) -> torch.Tensor:
        return torch.randn(2, 3, count, 5, 7, generator=generator)

    return {
        "nine quantiles": (QuantileOutput(), noise(9).sort(dim=2).values / 2 + 0.3),
        "uneven quantiles": (QuantileOutput([0.2, 0.5, 0.99]), noise(3).sort(dim=2).values / 2 + 0.3),
        "one quantile": (QuantileOutput(1), noise(1) / 2),
        "bins": (BinOutput(EDGES), 2 * noise(5)),
        "default bins": (BinOutput(), 2 * noise(17)),
        "members": (MemberOutput(), noise(6).div(2).clamp_min(0)),
        "members in half precision": (MemberOutput(), noise(5).div(2).clamp_min(0).bfloat16()),
    }


CASES = cases()
CONTINUOUS = [name for name in CASES if "members" not in name]


@pytest.mark.parametrize("name", CASES)
def test_quantiles_rise_and_are_never_below_dry(name: str) -> None:
    output, fields = CASES[name]
    quantiles = torch.cat([output.quantile(fields, q) for q in QS], dim=2)
    assert quantiles.shape == (2, 3, len(QS), 5, 7)
    assert (quantiles.diff(dim=2) >= -1e-6).all()
    assert (quantiles >= 0).all()
    assert (quantiles[:, :, -1] > 0).any()
    torch.testing.assert_close(output.median(fields), output.quantile(fields, 0.5))


@pytest.mark.parametrize("name", CASES)
def test_probabilities_fall_from_one_to_nothing(name: str) -> None:
    output, fields = CASES[name]
    reached = output.exceedance(fields, RATES)
    assert reached.shape == (2, 3, len(RATES), 5, 7)
    assert (reached[:, :, 0] == 1).all()
    assert (reached.diff(dim=2) <= 1e-6).all()
    assert (reached[:, :, -1] < 1e-6).all()


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("q", [0.2, 0.5, 0.87])
def test_the_quantile_of_a_level_is_reached_with_the_rest_of_the_probability(name: str, q: float) -> None:
    """Where it rains at that level, and no step of the distribution lies there: P(rate ≥ quantile of q) = 1 − q."""
    output, fields = CASES[name]
    quantiles = output.quantile(fields, q)
    inside = (output.quantile(fields, q - 0.01) > 0) & (output.quantile(fields, q + 0.01) < quantiles + 0.3)
    inside &= output.quantile(fields, q + 1e-4) > quantiles
    picked = [
        (fields[b, t, :, y, x], float(quantiles[b, t, 0, y, x])) for b, t, _, y, x in inside.nonzero().tolist()[:20]
    ]
    assert len(picked) > 3 or name == "one quantile"
    for values, quantile in picked:
        reached = output.exceedance(pixel(*values.tolist()), [float(unscale(torch.tensor(quantile)))])
        assert reached.item() == pytest.approx(1 - q, abs=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_mean_is_that_of_the_quantiles_of_all_levels(name: str) -> None:
    output, fields = CASES[name]
    fields, count = fields[:1, :1, :, :3], 3000
    rates = sum(unscale(output.quantile(fields, (level + 0.5) / count)) for level in range(count)) / count
    if "members" in name:  # whose quantiles are interpolated, while the mean is of the members
        rates = unscale(fields).mean(dim=2, keepdim=True)
    torch.testing.assert_close(output.mean(fields), scale(rates)[0], rtol=0, atol=0.01)


def test_nine_quantiles_are_given_back() -> None:
    values = [0.0, 0.0, 0.1, 0.2, 0.4, 0.5, 0.55, 0.9, 1.0]
    quantiles = [QuantileOutput().quantile(pixel(*values), (k + 1) / 10).item() for k in range(9)]
    assert quantiles == pytest.approx(values, abs=1e-6)
    assert QuantileOutput().quantile(pixel(*values), 0.45).item() == pytest.approx(0.3)


def test_what_is_below_dry_is_dry() -> None:
    """From −0.3 at a half to 0.3 at three quarters: dry with 5/8."""
    output, fields = QuantileOutput([0.5, 0.75]), pixel(-0.3, 0.3)
    assert output.median(fields).item() == 0
    assert output.exceedance(fields, [0.001]).item() == pytest.approx(3 / 8, abs=1e-4)
    assert output.quantile(fields, 0.7).item() == pytest.approx(0.18)


def test_a_dry_forecast_is_dry_in_every_way() -> None:
    for output, fields in [
        (QuantileOutput(3), pixel(0.0, 0.0, 0.0)),
        (QuantileOutput(3), pixel(-2.0, -1.0, 0.0)),
        (BinOutput(EDGES), pixel(100.0, 0.0, 0.0, 0.0, 0.0)),
        (MemberOutput(), pixel(0.0, 0.0, -0.5)),
    ]:
        assert output.exceedance(fields, [0.001, 1.0]).flatten().tolist() == pytest.approx([0, 0], abs=1e-6)
        assert output.mean(fields).item() == 0
        assert output.quantile(fields, 0.99).item() == 0
        assert output.members(fields, 3).flatten().tolist() == [0, 0, 0]


def test_the_tail_is_exponential_through_the_last_two_quantiles() -> None:
    """S(x) = exp(−x / s): its quantiles at 0.75 and 0.875 say all of it beyond, to where halving ends."""
    s = 0.2
    output = QuantileOutput([0.75, 0.875])
    fields = pixel(*(-s * math.log(1 - level) for level in output.levels))
    for halvings in range(4, 10):  # nodes of the tail, where it is exact
        assert output.quantile(fields, 1 - 0.5**halvings).item() == pytest.approx(s * halvings * math.log(2), rel=1e-5)
    rate = float(unscale(torch.tensor(s * 6 * math.log(2))))
    assert output.exceedance(fields, [rate]).item() == pytest.approx(0.5**6, rel=1e-3)


def test_the_tail_ends_at_sixty_dbz_or_at_the_last_quantile() -> None:
    steep, beyond = pixel(0.0, 1.5), pixel(2.1, 2.2)
    output = QuantileOutput([0.5, 0.9])
    assert output.quantile(steep, 0.9999).item() == pytest.approx(2.0)
    assert output.quantile(beyond, 0.9999).item() == pytest.approx(2.2)


def test_a_quantile_without_bounds_is_bounded_in_all_that_is_derived() -> None:
    output, fields = QuantileOutput([0.5, 0.95]), pixel(0.5, 90.0)
    derived = [output.mean(fields), *(output.quantile(fields, q) for q in (0.9, 0.99))]
    assert all(0 < float(unscale(field)) < HIGHEST_RATE + 0.01 for field in derived)
    assert float(output.exceedance(fields, [HIGHEST_RATE])) == pytest.approx(0.05, abs=0.01)


def test_bins_are_even_in_reflectivity_and_dry_is_a_lump() -> None:
    """40 % dry, 20 % in 0.5–1, 20 % in 1–2, 10 % in 2–10, 10 % above."""
    output = BinOutput(EDGES)
    fields = pixel(*(math.log(share) for share in (0.4, 0.2, 0.2, 0.1, 0.1)))
    assert output.quantile(fields, 0.39).item() == 0
    assert output.quantile(fields, 0.41).item() >= scaled(0.5)
    assert output.median(fields).item() == pytest.approx((scaled(0.5) + scaled(1)) / 2, rel=1e-5)
    assert float(unscale(output.median(fields))) == pytest.approx(math.sqrt(0.5), rel=1e-4)
    thresholds = [0.01, 0.5, 1, math.sqrt(2), 2, 10, math.sqrt(10 * 20), 20]
    reached = [0.6, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0]
    assert output.exceedance(fields, thresholds).flatten().tolist() == pytest.approx(reached, abs=1e-5)


def test_the_mean_rate_of_a_bin_is_the_logarithmic_one() -> None:
    """Evenly spread in log R from a to b, the mean of R is (b − a) / ln(b / a)."""
    fields = pixel(0.0, -100.0, -100.0, 0.0, -100.0)
    expected = 0.5 * (10 - 2) / math.log(10 / 2)
    assert float(unscale(BinOutput(EDGES).mean(fields))) == pytest.approx(expected, rel=1e-4)


def test_the_growth_of_rates_is_that_of_the_scaling() -> None:
    low, high = unscale(torch.tensor([0.5, 1.5])).tolist()
    assert math.log(high / low) == pytest.approx(RATE_GROWTH, rel=1e-5)


def test_members_are_counted() -> None:
    output, fields = MemberOutput(), pixel(scaled(5.0), 0.0, scaled(1.0), 0.0)
    assert output.exceedance(fields, [0, 0.04, 1.0, 1.01, 5.0, 6.0]).flatten().tolist() == [1, 0.5, 0.5, 0.25, 0.25, 0]
    assert float(unscale(output.mean(fields))) == pytest.approx(1.5, rel=1e-4)
    assert output.median(fields).item() == pytest.approx(scaled(1.0) / 2)
    assert output.quantile(fields, 0.95).item() == pytest.approx(scaled(5.0))
    assert output.quantile(fields, 0.125).item() == 0
    torch.testing.assert_close(output.members(fields, 3), fields[:, :, :3])
    with pytest.raises(InputError, match="holds 4 members, not 5"):
        output.members(fields, 5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_members_of_a_distribution_have_it(name: str) -> None:
    """As many as a fine ruler: their share that reaches a threshold is its probability, pixels stay apart."""
    output, fields = CASES[name]
    members = output.members(fields, 200)
    assert members.shape == (2, 3, 200, 5, 7)
    share = MemberOutput().exceedance(members, [0.5, 3.0])
    torch.testing.assert_close(share, output.exceedance(fields, [0.5, 3.0]), atol=0.006, rtol=0)


def test_what_cannot_be_is_said() -> None:
    fields = pixel(0.1, 0.2, 0.3)
    for q in (0.0, 1.0, 50):
        with pytest.raises(InputError, match="level between 0 and 1"):
            QuantileOutput(3).quantile(fields, q)
    with pytest.raises(InputError, match="9 quantiles is"):
        QuantileOutput().median(fields)
    with pytest.raises(InputError, match="5 bins is"):
        BinOutput(EDGES).mean(fields)
    with pytest.raises(InputError, match="at least 1 member"):
        MemberOutput().members(fields, 0)


@pytest.mark.parametrize("kind", ["quantiles", "bins"])
def test_the_scaled_mean_is_the_integral_of_the_quantile_function(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "quantiles":
        output, fields = QuantileOutput(5), (torch.randn(1, 1, 5, 3, 4) * 0.5 + 0.3).sort(dim=2).values
    else:
        output, fields = BinOutput((0.1, 1.0, 5.0)), torch.randn(1, 1, 4, 3, 4)
    levels = (torch.arange(4000) + 0.5) / 4000
    integral = torch.cat([output.quantile(fields, float(q)) for q in levels], dim=2).mean(dim=2, keepdim=True)
    torch.testing.assert_close(output.scaled_mean(fields), integral, rtol=1e-3, atol=1e-3)
