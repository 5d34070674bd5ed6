"""Spatial pyramid attention."""

import torch

from nowcast.attention.spa import SpatialPyramidAttention


@torch.no_grad()
def test_it_is_the_formula_cell_by_cell():
    torch.manual_seed(0)
    module = SpatialPyramidAttention(6)
    into, _, back, _ = module.excite
    x = torch.randn(2, 6, 8, 12)
    for b in range(2):
        cells = []
        for k in (1, 2, 4):
            for c in range(6):
                for i in range(k):
                    for j in range(k):
                        rows, columns = 8 // k, 12 // k
                        cell = x[b, c, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
                        cells.append(cell.mean())
        logits = back.weight @ (into.weight @ torch.stack(cells)).clamp_min(0)
        expected = x[b] / (1 + torch.exp(-logits))[:, None, None]
        torch.testing.assert_close(module(x)[b], expected)


@torch.no_grad()
def test_it_knows_where_things_are():
    torch.manual_seed(0)
    module = SpatialPyramidAttention(8)
    x = torch.zeros(2, 8, 8, 8)
    x[0, :, 0, 0] = x[1, :, 7, 7] = 10
    first, second = module.gate(x)
    assert (first - second).abs().max() > 1e-3


@torch.no_grad()
def test_it_notices_no_order_within_a_cell():
    torch.manual_seed(0)
    module = SpatialPyramidAttention(6)
    x = torch.randn(2, 6, 8, 8)
    swapped = x.clone()
    swapped[..., 4:6, 2], swapped[..., 4:6, 3] = x[..., 4:6, 3], x[..., 4:6, 2]
    torch.testing.assert_close(module.gate(swapped), module.gate(x))


def test_the_bottleneck_is_of_c_over_r_and_the_gate_of_c():
    """A popular listing has 21C/r and 21C, and returns the gate."""
    module = SpatialPyramidAttention(64, minimum=1)
    assert [tuple(weight.shape) for weight in module.parameters()] == [(4, 21 * 64), (64, 4)]
    x = torch.randn(1, 64, 5, 7)
    torch.testing.assert_close(module(x) / module.gate(x), x)
