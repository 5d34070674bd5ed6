"""Dense Lucas–Kanade: known motions found, dry air moves along, nodata unseen, the equations by hand, real rain."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.motion import lucas_kanade
from nowcast.scaling import scale
from tests.conftest import moving_rain
from tests.motion.by_hand import flow_by_hand
from tests.motion.rain import cells, moving


def error(motion: torch.Tensor, down: torch.Tensor | float, right: torch.Tensor | float) -> torch.Tensor:
    """(H, W): length of the difference in pixels."""
    return (motion[0, 0] - down).hypot(motion[0, 1] - right)


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (1.3, -2.4), (-4.0, 3.5), (0.2, 7.0), (-9.5, -6.0)])
def test_a_constant_motion_is_found(down: float, right: float) -> None:
    frames = moving(down, right)
    off = error(lucas_kanade(frames), down, right)
    wet = (frames > 0).all(1)[0]
    assert off[wet].median() < 0.1
    assert off.max() < 0.2


def test_one_pair_of_frames_is_enough() -> None:
    frames = moving(1.3, -2.4, frames=2)
    assert error(lucas_kanade(frames), 1.3, -2.4).max() < 0.1


def test_small_showers_are_followed_in_rain_rates_with_gaps() -> None:
    """Cells of one to three pixels; a corner is not observed."""
    rain = moving_rain(height=120, width=144, down=1, right=2, frames=4).rain_rate.values
    scaled, known = scale(torch.from_numpy(rain)[None])
    wet = ((scaled > 0) & known).all(1)[0]
    assert error(lucas_kanade(scaled, known), 1, 2)[wet].max() < 0.1


def test_a_turning_motion_is_found() -> None:
    angle, middle_row, middle_column = 0.02, 47.5, 55.5

    def place(rows: torch.Tensor, columns: torch.Tensor, frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        down, right = rows - middle_row, columns - middle_column
        cosine, sine = math.cos(angle * frame), math.sin(angle * frame)
        return middle_row + down * cosine + right * sine, middle_column + right * cosine - down * sine

    frames = cells(place)
    down, right = torch.arange(96.0)[:, None] - middle_row, torch.arange(112.0) - middle_column
    off = error(lucas_kanade(frames), angle * right, -angle * down)
    wet = (frames > 0).all(1)[0]
    assert off[wet].median() < 0.1
    assert off[wet & (down.hypot(right) < 40)].max() < 0.2  # the window sees less turning at the edge of the map


def test_two_rains_that_part_each_have_their_motion() -> None:
    def place(rows: torch.Tensor, columns: torch.Tensor, frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        return rows, columns + frame * torch.where(rows < 60, 2.0, -1.0)

    frames = cells(place, height=120, width=160)
    motion = lucas_kanade(frames)
    wet = (frames > 0).all(1)[0]
    for rows, right in ((slice(0, 30), 2.0), (slice(90, 120), -1.0)):
        assert error(motion, 0.0, right)[rows][wet[rows]].median() < 0.2


def test_dry_air_moves_with_the_rain_around_smoothly() -> None:
    frames = moving(1.3, -2.4, height=160, width=192)
    frames[..., 64:] = 0  # an edge that stands still, as that of coverage
    known = torch.ones_like(frames, dtype=torch.bool)
    known[..., 64:] = False
    motion = lucas_kanade(frames, known)
    assert error(motion, 1.3, -2.4).max() < 0.2
    assert motion.diff(dim=-1).abs().max() < 0.05


def test_a_dry_past_and_an_unobserved_one_stand_still() -> None:
    assert torch.equal(lucas_kanade(torch.zeros(2, 3, 33, 47)), torch.zeros(2, 2, 33, 47))
    frames = moving(2.0, 1.0)
    assert torch.equal(lucas_kanade(frames, torch.zeros_like(frames, dtype=torch.bool)), torch.zeros(1, 2, 96, 112))


def test_what_stands_where_nothing_was_observed_does_not_matter() -> None:
    frames = moving(1.0, -2.0)
    known = torch.rand(1, 1, 12, 14).gt(0.2).repeat_interleave(8, 2).repeat_interleave(8, 3).expand_as(frames)
    other = torch.where(known, frames, 7.0)
    for finest in (0, 1):
        expected = lucas_kanade(frames, known, finest=finest)
        assert torch.equal(lucas_kanade(other, known, finest=finest), expected)
    assert error(expected, 1.0, -2.0).median() < 0.1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 200), (17, 33), (63, 65)])
def test_any_size_has_a_finite_motion(height: int, width: int) -> None:
    motion = lucas_kanade(torch.rand(2, 3, height, width))
    assert motion.shape == (2, 2, height, width)
    assert motion.isfinite().all()


def test_samples_of_a_batch_do_not_mix() -> None:
    frames = torch.cat([moving(1.0, 2.0), moving(-2.0, 0.5, seed=1), torch.zeros(1, 4, 96, 112)])
    torch.testing.assert_close(lucas_kanade(frames)[1:2], lucas_kanade(frames[1:2]))


def test_turned_rain_has_turned_motion() -> None:
    frames = moving(1.0, -2.0, height=96, width=64)
    turned = lucas_kanade(frames.transpose(2, 3)).transpose(2, 3).flip(1)
    torch.testing.assert_close(turned, lucas_kanade(frames), rtol=1e-4, atol=1e-4)


def test_the_equations_are_those_said() -> None:
    """A map of one level, against loops over its pixels."""
    random = np.random.default_rng(0)
    frames = np.cumsum(np.cumsum(random.normal(size=(3, 8, 11)), axis=1), axis=2) * 0.1
    found = lucas_kanade(torch.from_numpy(frames)[None], window=3.0, stiffness=0.05)
    np.testing.assert_allclose(found[0].numpy(), flow_by_hand(frames, window=3.0, stiffness=0.05), atol=1e-9)


def test_gradients_of_the_frames_are_right() -> None:
    torch.manual_seed(0)
    frames = torch.rand(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lucas_kanade(x, stiffness=0.05), (frames,))


@pytest.mark.parametrize("event", ["mch_20160711", "fmi_20160928", "knmi_201008"])
def test_it_agrees_with_pysteps_where_it_rains(event: str, real_events: Path) -> None:
    """In the 256×256 pixels with most rain. The methods of pysteps differ from one another as much."""
    with xr.open_dataset(real_events / f"{event}.nc") as archive:
        rain = archive.rain_rate[20:24].values
    windows = np.lib.stride_tricks.sliding_window_view(rain[-1] >= 0.5, (256, 256))[::64, ::64]
    row, column = np.unravel_index(windows.sum(axis=(2, 3)).argmax(), windows.shape[:2])
    rate = rain[:, 64 * row : 64 * row + 256, 64 * column : 64 * column + 256]
    scaled, known = scale(torch.from_numpy(rate)[None])
    right, down = torch.from_numpy(baselines.create("extrapolation").motion(rate[1:]).copy())
    wet = torch.from_numpy(np.nan_to_num(rate).min(axis=0) >= 0.1)
    assert wet.sum() > 2000
    assert right.hypot(down)[wet].median() > 3  # it moves
    assert error(lucas_kanade(scaled[:, 1:], known[:, 1:]), down, right)[wet].median() < 0.5


def test_one_frame_has_no_motion() -> None:
    with pytest.raises(InputError, match="at least 2 frames, it was given 1"):
        lucas_kanade(torch.zeros(1, 1, 8, 8))
