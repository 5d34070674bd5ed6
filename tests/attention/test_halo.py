"""Halo attention."""

import pytest
import torch

from nowcast.attention.halo import HaloAttention
from nowcast.contracts import InputError
from tests.attention.by_hand import softmax


def expected(module: HaloAttention, x: torch.Tensor) -> torch.Tensor:
    """One sample (C, H, W), query by query and key by key."""
    _, height, width = x.shape
    d, block, halo = module.head_width, module.block, module.halo
    query = module.query(x[None])[0].unflatten(0, (module.heads, d))
    key, value = module.key_value(x[None])[0].unflatten(0, (module.heads, 2, d)).unbind(1)
    rows, columns = module.relative
    scale = d**-0.5
    y = torch.zeros(module.heads, d, height, width)
    for head in range(module.heads):
        for i in range(height):
            for j in range(width):
                top, left = i // block * block - halo, j // block * block - halo
                q, logits, values = query[head, :, i, j], [], []
                for u in range(top, top + module.window):
                    for v in range(left, left + module.window):
                        # The vector of displacement 0 in a block's first row is that of its window's row 0 + halo.
                        down, right = u - top - (i % block), v - left - (j % block)
                        place = rows[down + module.window - 1] + columns[right + module.window - 1]
                        on_map = 0 <= u < height and 0 <= v < width
                        if not on_map and module.padding == "masked":
                            continue
                        k = key[head, :, u, v] if on_map else torch.zeros(d)
                        logits.append(scale * q @ k + (scale if module.scaled_positions else 1) * q @ place)
                        values.append(value[head, :, u, v] if on_map else torch.zeros(d))
                y[head, :, i, j] = sum(w * v for w, v in zip(softmax(logits), values, strict=True))
    return module.project(y.flatten(0, 1)[None])[0]


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "zeros", "scaled_positions": False},
        {"head_width": 5, "project": True},
    ],
)
def test_it_is_the_formula_pixel_by_pixel(options):
    torch.manual_seed(0)
    module, x = HaloAttention(6, block=2, halo=1, heads=2, **options), torch.randn(2, 6, 4, 6)
    for sample, y in zip(x, module(x), strict=True):
        torch.testing.assert_close(y, expected(module, sample))


@torch.no_grad()
def test_a_map_that_is_not_made_of_whole_blocks_is_as_if_nothing_were_beyond_it():
    torch.manual_seed(0)
    module, x = HaloAttention(6, block=3, halo=1, heads=2), torch.randn(1, 6, 4, 5)
    torch.testing.assert_close(module(x)[0], expected(module, x[0]))


@torch.no_grad()
def test_padding_gets_no_weight():
    """Values that all pixels share come back unchanged, at the border too; popular copies let zeros dilute them."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 7, 5).expand(1, 8, 7, 5).clone()
    for padding, same in (("masked", True), ("zeros", False)):
        module = HaloAttention(8, block=4, halo=2, padding=padding)
        module.key_value.weight.view(8, 2, 1, 8)[:, 1] = 0
        x[:, 0] = 1
        module.key_value.weight.view(8, 2, 1, 8)[:, 1, :, 0] = 3
        assert torch.allclose(module(x), torch.full_like(x, 3)) is same


@torch.no_grad()
def test_inverted_padding_is_the_defect_of_the_port_it_names():
    """Only padding, whose values are 0, is seen where there is any; elsewhere all keys are seen alike."""
    torch.manual_seed(0)
    module, x = HaloAttention(4, block=2, halo=1, padding="inverted"), torch.randn(1, 4, 6, 6)
    y = module(x)
    value = module.key_value(x).unflatten(1, (4, 2))[:, :, 1]
    mean = value[..., 1:5, 1:5].mean(dim=(2, 3))
    torch.testing.assert_close(y[..., 2:4, 2:4], mean[..., None, None].expand(1, 4, 2, 2))
    y[..., 2:4, 2:4] = 0
    assert not y.any()


@torch.no_grad()
def test_a_pixel_sees_its_block_and_the_halo_and_nothing_beyond():
    torch.manual_seed(0)
    module, x = HaloAttention(8, block=3, halo=1), torch.randn(1, 8, 9, 9)
    other = x.clone()
    other[0, :, 2, 4] += 1
    changed = (module(other) != module(x)).any(dim=1)[0]
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[0:6, 3:6] = True  # row 2 is the halo of the blocks below; column 4 is no other block's halo
    assert torch.equal(changed, expected)


def test_masks_leave_all_gradients_finite_in_half_precision():
    torch.manual_seed(0)
    module, x = HaloAttention(8, block=4, halo=2).bfloat16(), torch.randn(1, 8, 5, 7).bfloat16()
    module(x).square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in module.parameters())


@pytest.mark.parametrize("options", [{"block": 0}, {"halo": -1}, {"head_width": 3}, {"heads": 3}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InputError, match="halo"):
        HaloAttention(8, **options)
