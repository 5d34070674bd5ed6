"""Semi-Lagrangian advection: whole shifts exact, circles followed, borders known, gradients right."""

import math

import pytest
import torch

from nowcast.motion import advect, displacements


def steady(down: float, right: float, height: int = 9, width: int = 13) -> torch.Tensor:
    return torch.tensor([down, right], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width)


def rotation(angle: float, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Velocity of turning by an angle a frame about the centre, and rows and columns from there."""
    middle = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.stack([angle * x, -angle * y])[None], y, x


@pytest.mark.parametrize(("down", "right"), [(1, 2), (-2, 1), (0, -3), (0, 0)])
def test_a_whole_shift_is_exact_and_tells_where_air_comes_from_outside(down: int, right: int) -> None:
    field = torch.rand(1, 1, 2, 9, 13)
    carried, inside = advect(field, displacements(steady(down, right), 3))
    for step in range(1, 4):
        came_from = torch.full_like(field[0, 0], torch.nan)
        for row in range(9):
            for column in range(13):
                if 0 <= row - step * down < 9 and 0 <= column - step * right < 13:
                    came_from[:, row, column] = field[0, 0, :, row - step * down, column - step * right]
        here = inside[0, step - 1]
        assert torch.equal(here.expand(2, 9, 13), ~came_from.isnan())
        torch.testing.assert_close(carried[0, step - 1, here.expand(2, 9, 13)], came_from[~came_from.isnan()])


def test_air_from_outside_brings_the_edge_or_nothing() -> None:
    field = torch.rand(1, 1, 1, 9, 13)
    far = displacements(steady(0, 20), 1)
    torch.testing.assert_close(advect(field, far)[0][0, 0, 0], field[0, 0, 0, :, :1].expand(9, 13))
    assert not advect(field, far, beyond="zeros")[0].any()
    assert not advect(field, far)[1].any()


@pytest.mark.parametrize(("iterations", "most"), [(1, 0.02), (3, 0.003)])
def test_turning_air_stays_on_its_circle(iterations: int, most: float) -> None:
    """By half a radian in ten frames; the places air came from are known in closed form."""
    motion, y, x = rotation(0.05)
    displacement = displacements(motion, 10, iterations)[0]
    near = y.hypot(x) < 25
    for step in (1, 5, 10):
        angle = 0.05 * step
        rows, columns = y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle)
        error = (y - displacement[step - 1, 0] - rows).hypot(x - displacement[step - 1, 1] - columns)
        assert error[near].max() < most


def test_there_and_back_is_where_it_was() -> None:
    motion, y, x = rotation(0.1)
    field = torch.exp(-((y - 8) ** 2 + (x + 5) ** 2) / 20)[None, None, None]
    there, _ = advect(field, displacements(motion, 6))
    back, _ = advect(there, displacements(-motion, 6))
    error = (back - field).abs()[0, :, 0][:, y.hypot(x) < 25]
    assert (there[:, 5] - field[:, 0]).abs().max() > 0.5  # it had gone
    assert error.max() < 0.1  # read between pixels twice


def test_every_lead_time_and_sample_has_its_own_field_and_motion() -> None:
    """Against each pixel of each field read by hand."""
    torch.manual_seed(0)
    fields, motion = torch.rand(2, 3, 2, 5, 7, dtype=torch.float64), torch.randn(2, 2, 5, 7, dtype=torch.float64)
    displacement = displacements(motion, 3)

    def read(field: torch.Tensor, row: float, column: float) -> torch.Tensor:
        row, column = min(max(row, 0), 4), min(max(column, 0), 6)
        top, left = min(int(row), 3), min(int(column), 5)
        down, right = row - top, column - left
        rows = field[..., top : top + 2, left : left + 2]
        upper, lower = rows[..., 0, :], rows[..., 1, :]
        between = upper * (1 - down) + lower * down
        return between[..., 0] * (1 - right) + between[..., 1] * right

    carried, _ = advect(fields, displacement)
    for sample in range(2):
        for row in range(5):
            for column in range(7):
                gone, step = torch.zeros(2, dtype=torch.float64), motion[sample, :, row, column]
                for lead in range(3):
                    half = gone + step / 2
                    step = read(motion[sample], row - half[0].item(), column - half[1].item())
                    gone = gone + step
                    torch.testing.assert_close(displacement[sample, lead, :, row, column], gone)
                    expected = read(fields[sample, lead], row - gone[0].item(), column - gone[1].item())
                    torch.testing.assert_close(carried[sample, lead, :, row, column], expected)


def test_gradients_of_fields_and_motion_are_right() -> None:
    torch.manual_seed(0)
    field = torch.rand(1, 1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    motion = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, m: advect(f, displacements(m, 2))[0], (field, motion))
