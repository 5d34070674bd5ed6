"""Attention on pairs of axes."""

import pytest
import torch
from einops import rearrange

from nowcast.attention.plane_pair import PlanePairAttention
from nowcast.attention.triplet import TripletAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended


@torch.no_grad()
def test_parallel_gates_are_triplet_attention():
    torch.manual_seed(0)
    triplet, module, x = TripletAttention(6), PlanePairAttention(6), torch.randn(2, 6, 5, 7)
    module.load_state_dict({f"on.{key.split('.')[1]}.{key}": value for key, value in triplet.state_dict().items()})
    torch.testing.assert_close(module.eval()(x), triplet.eval()(x))


@torch.no_grad()
def test_gates_in_series_see_what_the_gate_before_has_made():
    torch.manual_seed(0)
    module, x = PlanePairAttention(6, order="series", planes=("hw", "cw")).eval(), torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(module(x), module.on["cw"](module.on["hw"](x)))


def crossed(plane: torch.Tensor, temperature: float) -> torch.Tensor:
    """Criss-cross attention of one sample, (features, rows, columns), point by point."""
    features, height, width = plane.shape
    y = torch.empty_like(plane)
    for i in range(height):
        for j in range(width):
            cross = [(i, v) for v in range(width)] + [(u, j) for u in range(height) if u != i]
            points = torch.stack([plane[:, u, v] for u, v in cross])
            y[:, i, j] = attended(plane[None, :, i, j], points, points, temperature * features**-0.5)[0]
    return y


@torch.no_grad()
@pytest.mark.parametrize(("plane", "axes"), [("cw", "h c w"), ("hc", "w h c"), ("hw", "c h w")])
def test_criss_cross_is_the_formula_point_by_point_on_each_plane(plane, axes):
    torch.manual_seed(0)
    module, x = PlanePairAttention(3, weights="criss_cross", planes=[plane]), torch.randn(2, 3, 2, 4)
    module.on[plane].gamma.fill_(0.7)
    module.on[plane].temperature.fill_(1.3)
    for sample, y in zip(x, module(x), strict=True):
        expected = crossed(rearrange(sample, f"c h w -> {axes}"), 1.3)
        torch.testing.assert_close(y, sample + 0.7 * rearrange(expected, f"{axes} -> c h w"))


@torch.no_grad()
def test_parallel_planes_are_averaged():
    torch.manual_seed(0)
    module, x = PlanePairAttention(3, weights="criss_cross"), torch.randn(2, 3, 2, 4)
    for attention in module.on.values():
        torch.nn.init.uniform_(attention.gamma, 0.5, 1.0)
    torch.testing.assert_close(module(x), torch.stack([on(x) for on in module.on.values()]).mean(dim=0))


@pytest.mark.parametrize("order", ["parallel", "series"])
def test_criss_cross_has_two_numbers_a_plane_that_all_learn_and_is_the_identity_at_first(order):
    torch.manual_seed(0)
    module, x = PlanePairAttention(4, weights="criss_cross", order=order), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(module(x), x)
    assert len(list(module.parameters())) == 6
    for attention in module.on.values():
        torch.nn.init.uniform_(attention.gamma, 0.5, 1.0)
    (module(x) * torch.randn_like(x)).sum().backward()
    assert all(weight.grad.abs() > 0 for weight in module.parameters())


@pytest.mark.parametrize("weights", ["gate", "criss_cross"])
@pytest.mark.parametrize("shape", [(1, 6, 1, 9), (1, 6, 9, 1), (1, 6, 1, 1)])
def test_any_map_is_finite_in_half_precision_and_huge(weights, shape):
    module = PlanePairAttention(6, weights=weights).bfloat16().eval()
    assert module(1e3 * torch.randn(shape).bfloat16()).isfinite().all()


@pytest.mark.parametrize("options", [{"planes": ()}, {"planes": ("hw", "wh")}, {"planes": ("hw", "hw")}, {"kernel": 4}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="plane"):
        PlanePairAttention(8, **options)
