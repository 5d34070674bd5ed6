"""Synthetic radar: the same seed is the same rain, and its statistics are those of rain."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.statistics import (
    correlation,
    decorrelation_time,
    power_spectrum,
    share,
    spectral_slope,
    wet_quantiles,
)
from nowcast.data.synthetic import CLIMATES, Synthesis, coverage, quantised, synthesize, synthetic_event
from tests.programs import run

SMALL = Synthesis(events=2, frames=3, height=24, width=40)


@pytest.fixture(scope="module")
def events() -> dict[str, xr.Dataset]:
    """One event of each weather, of the default size."""
    return {weather: synthetic_event(Synthesis(frames=13), number) for number, weather in enumerate(CLIMATES)}


def test_each_weather_comes_in_turn(events: dict[str, xr.Dataset]) -> None:
    assert {weather: event.attrs["kind"] for weather, event in events.items()} == {w: w for w in CLIMATES}


def test_rain_is_intermittent_and_its_rates_skewed_like_those_of_real_events(events: dict[str, xr.Dataset]) -> None:
    """The bounds hold the five European events of README's comparison (scripts/compare_synthetic.py), not the hail."""
    for weather, event in events.items():
        rate = event.rain_rate.values
        assert 0.05 < share(rate, 0.1) < 0.6, weather
        assert 0.01 < share(rate, 1.0) < 0.2, weather
        assert 0.0001 < share(rate, 5.0) < 0.05, weather
        median, high, highest = wet_quantiles(rate)
        assert 0.3 < median < 1.6, weather
        assert 2.5 * median < high < 10 * median, weather
        assert 2 * high < highest < 60, weather


def test_the_spectrum_falls_like_that_of_rain(events: dict[str, xr.Dataset]) -> None:
    for weather, event in events.items():
        assert -3.5 < spectral_slope(event.rain_rate.values, 1.0) < -2, weather


def shifted_correlation(event: xr.Dataset, lag: int) -> tuple[float, float]:
    """Correlation with the frame `lag` steps later in place, and along the one shift that suits it best."""
    rate = np.nan_to_num(event.rain_rate.values)
    first, later = rate[0], rate[lag]
    reach, middle = 24, np.s_[24:-24, 24:-24]
    shifts = [(down, right) for down in range(-reach, reach + 1, 2) for right in range(-reach, reach + 1, 2)]
    best = max(correlation(first[middle], np.roll(later, shift, (0, 1))[middle]) for shift in shifts)
    return correlation(first[middle], later[middle]), best


def test_rain_moves_and_changes_on_its_way(events: dict[str, xr.Dataset]) -> None:
    for weather, event in events.items():
        still, moved = shifted_correlation(event, 3)
        assert moved > still + 0.05, weather
        assert 0.5 < moved < 0.98, weather


def test_it_decorrelates_along_its_motion_in_tens_of_minutes(events: dict[str, xr.Dataset]) -> None:
    for weather, event in events.items():
        lags = (2, 4)
        along = [shifted_correlation(event, lag)[1] for lag in lags]
        assert 15 < decorrelation_time([5 * lag for lag in lags], along) < 240, weather


def test_coverage_is_the_same_in_every_frame_and_has_a_hole(events: dict[str, xr.Dataset]) -> None:
    for event in events.values():
        unseen = np.isnan(event.rain_rate.values)
        assert (unseen == unseen[0]).all()
        assert 0 < unseen.mean() < 0.5


def test_coverage_is_made_of_circles() -> None:
    """The union of three convex shapes: no line crosses its border more than six times."""
    seen = coverage(60, 80, np.random.default_rng(0))
    assert np.abs(np.diff(seen.astype(int), axis=1)).sum(axis=1).max() <= 6
    assert seen[30, 40]


def test_rates_come_in_steps_of_half_a_dbz(events: dict[str, xr.Dataset]) -> None:
    rate = quantised(np.geomspace(0.1, 80, 500))
    steps = 10 * np.log10(200 * rate**1.6) / 0.5
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert np.abs(rate / np.geomspace(0.1, 80, 500) - 1).max() < 0.04
    assert quantised(np.zeros(3)).tolist() == [0, 0, 0]
    found = np.unique(events["stratiform"].rain_rate.values)
    assert len(found[found > 0]) < 100


def test_the_same_seed_is_the_same_rain_and_another_is_not() -> None:
    first, again = (synthetic_event(SMALL, 1) for _ in range(2))
    xr.testing.assert_identical(first, again)
    other = synthetic_event(Synthesis(events=2, frames=3, height=24, width=40, seed=1), 1)
    assert not np.array_equal(first.rain_rate, other.rain_rate, equal_nan=True)


def test_longer_events_begin_like_shorter_ones() -> None:
    longer = synthetic_event(Synthesis(frames=5, height=24, width=40), 0)
    np.testing.assert_array_equal(longer.rain_rate[:3], synthetic_event(SMALL, 0).rain_rate)


def test_an_event_is_an_archive_like_real_ones(tmp_path: Path) -> None:
    paths = synthesize(SMALL, tmp_path)
    assert [path.name for path in paths] == ["event_000.nc", "event_001.nc"]
    archive = Archive.open(paths[1])
    assert archive.grid.shape == (24, 40)
    assert archive.grid.pixel_m == 1000
    assert archive.grid.crs.attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"
    assert archive.step_s == 300
    expected = synthetic_event(SMALL, 1).rain_rate.values[2]
    np.testing.assert_allclose(archive.read(2), expected, atol=0.0051)


def test_events_that_are_there_are_kept_and_others_are_added(tmp_path: Path) -> None:
    first = synthesize(SMALL, tmp_path)[0]
    before = first.stat().st_mtime_ns
    synthesize(Synthesis(events=3, frames=3, height=24, width=40), tmp_path)
    assert first.stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"event_00{n}.nc" for n in range(3)]


def test_an_event_of_another_recipe_is_refused_not_used(tmp_path: Path) -> None:
    synthesize(SMALL, tmp_path)
    with pytest.raises(InputError, match=r"event_000.nc was made by another recipe \(seed 0 instead of 7\)"):
        synthesize(Synthesis(events=2, frames=3, height=24, width=40, seed=7), tmp_path)


def test_a_file_that_is_no_archive_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "event_000.nc").write_text("mine")
    with pytest.raises(InputError, match=r"event_000.nc is in the way"):
        synthesize(SMALL, tmp_path)
    assert (tmp_path / "event_000.nc").read_text() == "mine"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 0}, "frames of at least 1"),
        ({"pixel_km": 0}, "pixel_km above 0"),
        ({"weather": "fair"}, "stratiform"),
    ],
)
def test_an_impossible_recipe_says_what_is_possible(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Synthesis(**wrong)


def test_the_program_makes_a_folder_of_events(tmp_path: Path) -> None:
    done = run(
        "nowcast.synthesize", "--output", tmp_path / "rain", "--events", 1, "--frames", 2,
        "--height", 24, "--width", 32, "--weather", "convective", "--seed", 3,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    archive = Archive.open(tmp_path / "rain" / "event_000.nc")
    assert json.loads(archive.attrs["recipe"])["seed"] == 3
    assert archive.attrs["kind"] == "convective"


def test_the_program_tells_a_mistake_in_a_line(tmp_path: Path) -> None:
    wrong = run("nowcast.synthesize", "--output", tmp_path, "--weather", "fair")
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert "stratiform" in wrong.stderr


# Statistics that the comparison with real events rests on.


def test_shares_and_quantiles_leave_out_what_is_not_observed() -> None:
    rate = np.array([np.nan, 0, 0.1, 2, 4])
    assert share(rate, 0.1) == 0.75
    assert share(rate, 3) == 0.25
    assert wet_quantiles(rate, [0.5]) == 2
    assert np.isnan(share(np.full(3, np.nan)))


@pytest.mark.parametrize("slope", [-2.0, -3.0])
def test_the_spectral_slope_of_a_field_made_with_one_comes_back(slope: float) -> None:
    random = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(256), np.fft.rfftfreq(256)
    wavenumber = np.hypot(rows[:, None], columns)
    wavenumber[0, 0] = 1
    noise = np.fft.rfft2(random.standard_normal((8, 256, 256)))
    field = np.fft.irfft2(noise * wavenumber ** (slope / 2))
    field /= 10 * field.std()  # so little that no decibel falls under the dry limit
    assert spectral_slope(10**field, 1.0) == pytest.approx(slope, abs=0.15)


def test_a_wave_has_its_power_at_its_length() -> None:
    wave = 10 ** (0.1 * np.sin(2 * np.pi * np.arange(128) / 16))
    wavelength, power = power_spectrum(np.broadcast_to(wave, (1, 128, 128)), 2.0)
    assert wavelength[power.argmax()] == pytest.approx(32, rel=0.15)


def test_the_decorrelation_time_of_an_exponential_is_its_scale() -> None:
    minutes = np.arange(5, 65, 5)
    assert decorrelation_time(minutes, np.exp(-minutes / 40)) == pytest.approx(40, rel=0.01)
    assert decorrelation_time(minutes[:4], np.exp(-minutes[:4] / 40)) == pytest.approx(40, rel=0.01)
    assert decorrelation_time([5], [1.0]) == float("inf")


def test_correlation_is_of_decibels_where_both_are_known() -> None:
    first, second = np.array([1.0, 10, 100, np.nan, 5]), np.array([0.2, 2, 20, 3, np.nan])
    assert correlation(first, second) == pytest.approx(1)
    assert np.isnan(correlation(first, np.ones(5)))
