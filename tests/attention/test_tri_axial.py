"""Attention along channels, rows and columns."""

import pytest
import torch

from nowcast.attention.tri_axial import TriAxialAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import attended


def active(module: TriAxialAttention) -> TriAxialAttention:
    for attention in module.along.values():
        torch.nn.init.uniform_(attention.gamma, 0.5, 1.0)
    return module


@torch.no_grad()
def test_channels_average_channels_by_the_cosine_of_their_pooled_maps():
    torch.manual_seed(0)
    module, x = active(TriAxialAttention(5, axes=["c"], grid=2)), torch.randn(2, 5, 4, 6)
    part = module.along["c"]
    for sample, y in zip(x, module(x), strict=True):
        cells = [[channel[i : i + 2, j : j + 3].mean() for i in (0, 2) for j in (0, 3)] for channel in sample]
        tokens = torch.tensor(cells)
        tokens = tokens / (tokens**2).sum(dim=1, keepdim=True) ** 0.5
        average = attended(tokens, tokens, sample.flatten(1), part.temperature)
        torch.testing.assert_close(y, sample + part.gamma * average.view(5, 4, 6))


@torch.no_grad()
def test_a_sum_adds_what_each_axis_gives_alone_and_a_sequence_goes_on_with_it():
    torch.manual_seed(0)
    module, x = active(TriAxialAttention(8)), torch.randn(2, 8, 3, 4)
    c, h, w = module.along.values()
    torch.testing.assert_close(module(x), c(x) + h(x) + w(x) - 2 * x)
    module.sequential = True
    torch.testing.assert_close(module(x), w(h(c(x))))


@torch.no_grad()
def test_the_axes_of_a_sequence_come_in_the_order_asked_for():
    torch.manual_seed(0)
    module, x = active(TriAxialAttention(8, axes=("w", "c"), order="sequence")), torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(module(x), module.along["c"](module.along["w"](x)))


@torch.no_grad()
def test_h_mixes_rows_and_w_mixes_columns():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    other = x.clone()
    other[0, :, 1, 2] += 1
    for axis, mask in (("h", (slice(None), 2)), ("w", (1, slice(None)))):
        module = active(TriAxialAttention(8, axes=[axis]))
        changed = (module(other) != module(x)).any(dim=1)[0]
        expected = torch.zeros(3, 4, dtype=torch.bool)
        expected[mask] = True
        assert torch.equal(changed, expected)


@torch.no_grad()
def test_the_weights_of_channels_do_not_depend_on_the_scale_of_the_map():
    """Gram matrices that are not normalised saturate on large maps and strong echoes."""
    torch.manual_seed(0)
    module, x = active(TriAxialAttention(8, axes=["c"])), torch.randn(1, 8, 9, 7)
    torch.testing.assert_close(module(1e3 * x), 1e3 * module(x))


def test_it_is_the_identity_at_first():
    x = torch.randn(2, 16, 4, 3)
    for order in ("sum", "sequence"):
        assert torch.equal(TriAxialAttention(16, order=order)(x), x)


@pytest.mark.parametrize("options", [{"axes": ()}, {"axes": ("c", "t")}, {"axes": ("h", "h")}, {"grid": 0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="tri_axial"):
        TriAxialAttention(8, **options)
