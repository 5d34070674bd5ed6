"""A glimpse at one place of the map."""

import math

import pytest
import torch

from nowcast.attention.glimpse import Glimpse
from nowcast.contracts import InputError


def value(map_: torch.Tensor, row: float, column: float) -> torch.Tensor:
    """(C, H, W) between pixels, 0 beyond: of the four around a place, each by how near it is."""
    total = torch.zeros(len(map_))
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < map_.shape[1] and 0 <= j < map_.shape[2]:
                total += (1 - abs(row - i)) * (1 - abs(column - j)) * map_[:, i, j]
    return total


def patch(map_: torch.Tensor, centre: tuple[float, float], size: int, shrink: int) -> torch.Tensor:
    """(C, size, size), each the mean of shrink × shrink values one pixel apart; centre in pixels."""
    found = torch.zeros(len(map_), size, size)
    for i in range(size * shrink):
        for j in range(size * shrink):
            row, column = (c + k - (size * shrink - 1) / 2 for c, k in zip(centre, (i, j), strict=True))
            found[:, i // shrink, j // shrink] += value(map_, row, column) / shrink**2
    return found


@torch.no_grad()
def test_the_map_is_told_what_patches_at_the_place_hold():
    torch.manual_seed(0)
    module = Glimpse(4, size=3, scales=3)
    x = torch.randn(2, 4, 5, 7)
    for b in range(2):
        scores = [[torch.exp(module.place.weight.flatten() @ x[b, :, i, j]) for j in range(7)] for i in range(5)]
        total = sum(sum(row) for row in scores)
        row = float(sum(i * scores[i][j] for i in range(5) for j in range(7)) / total)
        column = float(sum(j * scores[i][j] for i in range(5) for j in range(7)) / total)
        narrow = module.narrow(x[b : b + 1])[0]
        seen = torch.cat([patch(narrow, (row, column), 3, shrink).flatten() for shrink in (1, 2, 4)])
        where = torch.tensor([(2 * row + 1) / 5 - 1, (2 * column + 1) / 7 - 1])
        hidden = (module.what.weight @ seen + module.what.bias + module.where.weight @ where).clamp_min(0)
        expected = x[b] + module.project(hidden)[:, None, None]
        torch.testing.assert_close(module(x)[b], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_sharpest_patch_on_a_pixel_is_cut_out_as_it_is():
    module = Glimpse(1, size=3, scales=1)
    x = torch.arange(35.0).view(1, 1, 5, 7)
    at = torch.tensor([[2 * 2.5 / 5 - 1, 2 * 6.5 / 7 - 1]])  # row 2 and the last column
    expected = torch.nn.functional.pad(x, (0, 1))[:, :, 1:4, 5:8]
    torch.testing.assert_close(module.patches(x, at)[:, 0], expected)


@torch.no_grad()
def test_it_looks_where_the_map_is_brightest():
    module = Glimpse(1)
    module.place.weight.fill_(1)
    x = torch.zeros(1, 1, 10, 10)
    x[..., 2, 7] = 100
    torch.testing.assert_close(module.location(x), torch.tensor([[-0.5, 0.5]]))
    torch.testing.assert_close(module.location(x * 0), torch.zeros(1, 2))


@torch.no_grad()
def test_a_coarse_patch_averages_what_it_covers():
    """A copy that samples every second pixel would miss half of a checkerboard."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    coarse = Glimpse(1, size=4, scales=2).patches(board.float().expand(1, 1, 16, 16), torch.zeros(1, 2))[:, 1]
    torch.testing.assert_close(coarse, torch.full((1, 1, 4, 4), 0.5))


def test_the_place_learns_from_what_is_seen():
    torch.manual_seed(0)
    module = Glimpse(4, size=2, scales=1)
    module(torch.randn(1, 4, 6, 6)).square().sum().backward()
    assert module.place.weight.grad.abs().max() > 0


@pytest.mark.parametrize("options", [{"size": 0}, {"scales": 0}])
def test_a_patch_of_nothing_is_refused(options):
    with pytest.raises(InputError, match="such as 8 and 3"):
        Glimpse(8, **options)
