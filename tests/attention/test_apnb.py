"""Asymmetric non-local blocks: apnb, afnb and their stack, anl."""

import pytest
import torch
from torch import nn

from nowcast.attention._pyramid import cells
from nowcast.attention.afnb import AsymmetricFusionNonLocal
from nowcast.attention.anl import AsymmetricNonLocal
from nowcast.attention.apnb import AsymmetricPyramidNonLocal
from nowcast.contracts import InputError
from tests.attention.by_hand import attended, pixels


def filled(module: nn.Module) -> nn.Module:
    """Every weight random, the output of the attention's too."""
    torch.manual_seed(0)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5)
    return module.eval()


def normed(convolution: nn.Conv2d, norm: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    """1×1 convolution and norm of one sample, (C, H, W)."""
    y = torch.einsum("oi, ihw -> ohw", convolution.weight[:, :, 0, 0], x) + convolution.bias[:, None, None]
    y = (y - y.mean()) / (y.var(correction=0) + 1e-5) ** 0.5
    return y * norm.weight[:, None, None] + norm.bias[:, None, None]


def halves(x: torch.Tensor) -> torch.Tensor:
    """Cells of the grids 1 and 2 of a map of even size, (C, H, W) → (5, C)."""
    rows, columns = (size // 2 for size in x.shape[1:])
    quarters = [x[:, i : i + rows, j : j + columns] for i in (0, rows) for j in (0, columns)]
    return torch.stack([part.mean(dim=(1, 2)) for part in (x, *quarters)])


def context(attention: nn.Module, queries: torch.Tensor, keys: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """W softmax(QKᵀ/√d) V with values made at every pixel and then pooled, (N, C)."""
    values = torch.einsum("oi, ihw -> ohw", attention.value.weight, low)
    values = values + attention.value.bias[:, None, None]
    scale = queries.shape[0] ** -0.5
    found = attended(pixels(queries), halves(keys), halves(values), scale)
    return found @ attention.project.weight.flatten(1).T + attention.project.bias


@torch.no_grad()
def test_apnb_is_the_formula_pixel_by_pixel_with_one_transform_for_queries_and_keys():
    module = filled(AsymmetricPyramidNonLocal(6, grids=(1, 2), minimum=3))
    x = torch.randn(2, 6, 4, 6)
    for sample, y in zip(x, module(x), strict=True):
        keys = normed(*module.attention.key[:2], sample).clamp_min(0)
        found = context(module.attention, keys, keys, sample).T.reshape(sample.shape)
        expected = normed(*module.fuse[:2], torch.cat([found, sample])).clamp_min(0)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_afnb_is_the_formula_pixel_by_pixel_with_keys_and_values_of_the_lower_map():
    module = filled(AsymmetricFusionNonLocal(6, low_channels=4, grids=(1, 2), minimum=3))
    x, low = torch.randn(2, 6, 2, 3), torch.randn(2, 4, 4, 6)
    for sample, below, y in zip(x, low, module(x, low), strict=True):
        keys = normed(*module.attention.key[:2], below).clamp_min(0)
        queries = normed(*module.attention.query[:2], sample).clamp_min(0)
        found = context(module.attention, queries, keys, below).T.reshape(sample.shape)
        expected = normed(*module.fuse, torch.cat([found, sample]))
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        assert y.min() < 0


@torch.no_grad()
def test_anl_is_both_in_a_row():
    module = filled(AsymmetricNonLocal(8, low_channels=4))
    x, low = torch.randn(2, 8, 5, 3), torch.randn(2, 4, 9, 7)
    fused = module.between(module.fusion(x, low))
    torch.testing.assert_close(module(x, low), module.pyramid(fused))
    assert not torch.allclose(module(x, low), module(x, low.flip(1)))


def test_the_usual_grids_have_110_cells_and_a_coarse_map_repeats_its_pixels():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert cells(x, (1, 3, 6, 8)).shape == (1, 110, 1)
    torch.testing.assert_close(cells(x, (1, 4))[0, :5, 0], torch.tensor([1.5, 0, 0, 1, 1]))


@torch.no_grad()
def test_the_lower_map_is_x_where_none_is_given():
    x = torch.randn(2, 8, 3, 4)
    for block in (AsymmetricFusionNonLocal, AsymmetricNonLocal):
        module = filled(block(8))
        assert torch.equal(module(x), module(x, x))


@pytest.mark.parametrize("block", [AsymmetricFusionNonLocal, AsymmetricNonLocal])
def test_a_lower_map_of_other_channels_is_refused(block):
    module = block(8, low_channels=4)
    with pytest.raises(InputError, match="lower map of 4 channels, not 8"):
        module(torch.randn(1, 8, 3, 3))


@pytest.mark.parametrize("grids", [(), (0, 3)])
@pytest.mark.parametrize("block", [AsymmetricPyramidNonLocal, AsymmetricFusionNonLocal, AsymmetricNonLocal])
def test_grids_without_cells_are_refused(block, grids):
    with pytest.raises(InputError, match=r"such as \(1, 3, 6, 8\)"):
        block(16, grids=grids)
