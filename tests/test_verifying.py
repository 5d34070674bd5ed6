"""Verification of files: which cases and lead times are scored, and what is refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Archive, Grid, write_archive
from nowcast.data.forecast_file import ForecastWriter
from nowcast.data.forecast_layout import Layout
from nowcast.verification import standard_scores
from nowcast.verifying import verify_files
from tests.conftest import moving_rain


def frame(archive: Archive, time: np.datetime64) -> np.ndarray:
    return archive.read(int(archive.find(np.array([time]))[0]))


def write(
    path: Path,
    archive: Archive,
    starts: Sequence[int],
    minutes: Sequence[int],
    rate: Callable[[np.datetime64, int], np.ndarray] | None = None,
    model: str = "test",
    grid: Grid | None = None,
) -> Path:
    """A file of forecasts from frames number `starts`: rate(init_time, minutes), or what will happen."""

    def truth(time: np.datetime64, lead: int) -> np.ndarray:
        return frame(archive, time + np.timedelta64(lead, "m"))

    path.parent.mkdir(exist_ok=True)
    layout = Layout(grid or archive.grid, [60 * lead for lead in minutes], {"model": model})
    init_times = archive.times[list(starts)]
    with ForecastWriter(path, layout, init_times) as writer:
        for init_time in init_times:
            fields = np.stack([(rate or truth)(init_time, lead) for lead in minutes])
            writer.append(layout.pack({"rain_rate": fields}))
    return path


@pytest.fixture
def archive(archive_path: Path) -> Archive:
    return Archive.open(archive_path)


def test_a_forecast_of_what_happened_is_perfect(archive: Archive, tmp_path: Path) -> None:
    """Also where lead times and initial times of two files are not the same, nor in the same places."""
    long = write(tmp_path / "long.nc", archive, range(2, 9), [5, 10, 15, 30], model="long")
    short = write(tmp_path / "short.nc", archive, [1, 4, 5, 8], [10, 30, 45], model="short")
    skill = verify_files([long, short], archive)
    assert skill.forecast.values.tolist() == ["long", "short"]
    assert skill.lead_time.values.tolist() == [10, 30]
    assert skill.cases.values.tolist() == [3, 3]
    assert skill.attrs["initial_times"] == 8
    assert (skill.mae == 0).all()
    assert (skill.csi == 1).all()
    assert (skill.missing_share == 0).all()


def test_an_error_is_found_in_its_file_and_at_its_lead_time(archive: Archive, tmp_path: Path) -> None:
    def too_much(time: np.datetime64, lead: int) -> np.ndarray:
        return frame(archive, time + np.timedelta64(lead, "m")) + lead / 100

    right = write(tmp_path / "right.nc", archive, range(4), [5, 10, 20], model="right")
    wrong = write(tmp_path / "wrong.nc", archive, range(4), [5, 10, 20], too_much, model="wrong")
    skill = verify_files([right, wrong], archive)
    np.testing.assert_allclose(skill.bias, [[0, 0, 0], [0.05, 0.1, 0.2]], atol=1e-6)


def test_cases_without_all_their_frames_are_left_out(rain: xr.Dataset, tmp_path: Path) -> None:
    whole = tmp_path / "whole.nc"
    write_archive(rain, whole)
    path = write(tmp_path / "f.nc", Archive.open(whole), range(10), [5, 15])
    write_archive(rain.drop_isel(time=7), tmp_path / "gap.nc")
    skill = verify_files([path], Archive.open(tmp_path / "gap.nc"))
    assert int(skill.cases[0]) == 8, "of 10, those from frames 4 and 6 need frame 7"
    assert skill.attrs["initial_times"] == 10
    assert (skill.mae == 0).all()


def test_cases_are_pooled_not_averaged(archive: Archive, tmp_path: Path) -> None:
    """CSI of all pixels of all cases together, where the cases hold very different amounts of rain."""

    def stale(time: np.datetime64, lead: int) -> np.ndarray:
        rate = frame(archive, time)
        return np.where(np.isnan(rate), np.nan, np.roll(rate, lead, axis=1))

    starts, minutes = [0, 7, 13], [5, 10]
    skill = verify_files([write(tmp_path / "f.nc", archive, starts, minutes, stale)], archive, (2.0,))
    scores = standard_scores(minutes, (2.0,))
    init_times = archive.times[starts]
    pooled = [
        np.stack([[field(time, lead) for lead in minutes] for time in init_times])[:, :, None]
        for field in (stale, lambda time, lead: frame(archive, time + np.timedelta64(lead, "m")))
    ]
    scores.update(*map(torch.from_numpy, pooled))
    for name, expected in scores.compute().data_vars.items():
        np.testing.assert_allclose(skill[name][0], expected, rtol=1e-9, err_msg=str(name))


def test_only_shared_cases_count(archive: Archive, tmp_path: Path) -> None:
    """A file does not gain or lose by cases that the others did not have to forecast."""

    def nonsense_at_first(time: np.datetime64, lead: int) -> np.ndarray:
        rate = frame(archive, time + np.timedelta64(lead, "m"))
        return rate + 50 if time == archive.times[0] else rate

    bold = write(tmp_path / "bold.nc", archive, range(5), [5, 10], nonsense_at_first)
    shy = write(tmp_path / "shy.nc", archive, range(1, 5), [5, 10])
    assert (verify_files([bold], archive).mae > 1).all()
    assert (verify_files([bold, shy], archive).mae == 0).all()


def test_pixels_without_a_forecast_are_dry_or_left_out(archive: Archive, tmp_path: Path) -> None:
    def western(time: np.datetime64, lead: int) -> np.ndarray:
        rate = frame(archive, time + np.timedelta64(lead, "m")).copy()
        rate[:, 40:] = np.nan
        return rate

    path = write(tmp_path / "f.nc", archive, range(4), [5, 10], western)
    assert (verify_files([path], archive).mae > 0.1).all()
    common = verify_files([path], archive, pixels="common")
    assert (common.mae == 0).all()
    observed = np.isfinite(frame(archive, archive.times[0]))
    np.testing.assert_allclose(common.missing_share, observed[:, 40:].sum() / observed.sum())


def test_common_pixels_are_those_that_all_files_have(archive: Archive, tmp_path: Path) -> None:
    """Otherwise a file could look good by leaving out what the others dare to forecast."""

    def half(keep: slice) -> Callable[[np.datetime64, int], np.ndarray]:
        def rate(time: np.datetime64, lead: int) -> np.ndarray:
            half_known = np.full(archive.grid.shape, np.nan, dtype=np.float32)
            half_known[keep] = frame(archive, time)[keep]
            return half_known

        return rate

    paths = [
        write(tmp_path / f"{name}.nc", archive, range(4), [5, 10], half(keep))
        for name, keep in {"north": slice(0, 25), "south": slice(15, None)}.items()
    ]
    skill = verify_files(paths, archive, pixels="common")
    observed = [np.isfinite(archive.read(index)[15:25]).sum() for index in range(1, 5)]
    assert (skill.pixel_count == sum(observed)).all()
    xr.testing.assert_equal(skill.isel(forecast=0, drop=True), skill.isel(forecast=1, drop=True))


def test_curves_are_named_by_model_then_file_then_path(archive: Archive, tmp_path: Path) -> None:
    models = {"one.nc": "flow", "two.nc": "net", "there/two.nc": "net", "three.nc": "net"}
    paths = [write(tmp_path / name, archive, [0], [5], model=model) for name, model in models.items()]
    assert verify_files(paths, archive).forecast.values.tolist() == [
        "flow",
        f"net ({tmp_path}/two.nc)",
        f"net ({tmp_path}/there/two.nc)",
        "net (three.nc)",
    ]


def test_progress_counts_up_to_the_cases(archive: Archive, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = write(tmp_path / "f.nc", archive, range(3), [5])
    verify_files([path], archive, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_another_grid_is_refused_with_both_files_named(archive: Archive, tmp_path: Path) -> None:
    path = write(tmp_path / "f.nc", archive, [0], [5])
    shifted = moving_rain()
    for name, other in {
        "smaller": moving_rain(height=39),
        "shifted": shifted.assign_coords(x=shifted.x + 1000),
    }.items():
        write_archive(other, tmp_path / f"{name}.nc")
        with pytest.raises(InputError, match=rf"f\.nc is on another grid .* than .*{name}\.nc"):
            verify_files([path], Archive.open(tmp_path / f"{name}.nc"))


def test_a_finer_forecast_is_judged_where_its_pixels_hold_those_of_the_archive(
    archive: Archive, tmp_path: Path
) -> None:
    """Each pixel becomes 3 × 3, of which the middle one is the truth and all others are wrong."""
    grid, third = archive.grid, archive.grid.pixel_m / 3

    def thirds(axis: xr.DataArray, sign: int) -> xr.DataArray:
        centres = axis.values[:, None] + sign * third * np.array([-1, 0, 1])
        return xr.DataArray(centres.ravel(), dims=axis.name, name=axis.name, attrs=axis.attrs)

    finer = Grid(thirds(grid.y, -1), thirds(grid.x, 1), grid.crs)

    def middle(time: np.datetime64, lead: int) -> np.ndarray:
        return np.kron(frame(archive, time + np.timedelta64(lead, "m")) + 7, np.ones((3, 3))) - np.tile(
            np.array([[0, 0, 0], [0, 7, 0], [0, 0, 0]]), grid.shape
        )

    path = write(tmp_path / "finer.nc", archive, range(3), [5, 10], middle, grid=finer)
    with pytest.raises(InputError, match=r"finer\.nc is on another grid .* --regrid nearest"):
        verify_files([path], archive)
    assert (verify_files([path], archive, regrid="nearest").mae == 0).all()


def test_a_forecast_of_a_part_has_nothing_to_say_outside_of_it(archive: Archive, tmp_path: Path) -> None:
    grid = archive.grid
    part = Grid(grid.y[4:30], grid.x[10:44], grid.crs)

    def inside(time: np.datetime64, lead: int) -> np.ndarray:
        return frame(archive, time + np.timedelta64(lead, "m"))[4:30, 10:44]

    path = write(tmp_path / "part.nc", archive, range(3), [5, 10], inside, grid=part)
    skill = verify_files([path], archive, pixels="common", regrid="nearest")
    assert (skill.mae == 0).all()
    observed = [np.isfinite(archive.read(index)[4:30, 10:44]).sum() for index in range(1, 4)]
    assert skill.pixel_count.sel(lead_time=5).values.tolist() == [sum(observed)]


def test_a_grid_far_away_is_refused_even_then(archive: Archive, tmp_path: Path) -> None:
    grid = archive.grid
    away = Grid(grid.y, grid.x.copy(data=grid.x.values + 1e6), grid.crs)
    path = write(tmp_path / "away.nc", archive, [0], [5], grid=away)
    with pytest.raises(InputError, match=r"away\.nc is on another grid .* do not overlap"):
        verify_files([path], archive, regrid="nearest")


def test_files_that_share_no_lead_time_are_refused(archive: Archive, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{lead}.nc", archive, [0], [lead]) for lead in (5, 10)]
    with pytest.raises(InputError, match=r"no lead time is in all.*5\.nc has 5 min; .*10\.nc has 10 min"):
        verify_files(paths, archive)


def test_files_that_share_no_initial_time_are_refused(archive: Archive, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{start}.nc", archive, [start], [5]) for start in (0, 1)]
    with pytest.raises(InputError, match=r"no initial time is in all.*0\.nc has 1 times from 2020-06-01T12"):
        verify_files(paths, archive)


def test_an_archive_of_another_time_is_refused(archive: Archive, tmp_path: Path) -> None:
    write_archive(moving_rain(start="2021-01-01"), tmp_path / "later.nc")
    path = write(tmp_path / "f.nc", archive, range(3), [5, 10])
    with pytest.raises(InputError, match=r"later\.nc .* has all frames for none of the 3 forecasts"):
        verify_files([path], Archive.open(tmp_path / "later.nc"))


def test_a_file_given_twice_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = write(tmp_path / "f.nc", archive, [0], [5])
    with pytest.raises(InputError, match=r"f\.nc is given 2 times"):
        verify_files([path, tmp_path / "there" / ".." / "f.nc"], archive)
