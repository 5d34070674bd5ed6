"""Spectra: plane waves, a filter of known width, a twin with the whole Fourier transform, and pysteps."""

import contextlib
import io

import numpy as np
import pytest
import torch

from nowcast.contracts import InputError
from nowcast.verification import Spectrum
from tests.verification.conftest import Rain

SHAPE = (48, 64)


def waves(cycles_y: int, cycles_x: int) -> np.ndarray:
    """1 + a plane wave with so many cycles over the field, mm/h."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 + np.cos(2 * np.pi * (cycles_y * y / SHAPE[0] + cycles_x * x / SHAPE[1]))


def scored(forecast: np.ndarray, observed: np.ndarray, **options):
    score = Spectrum([5], forecast.shape[-2:], **options)
    score.update(*(torch.from_numpy(field).reshape(-1, 1, 1, *field.shape[-2:]) for field in (forecast, observed)))
    return score.compute().isel(lead_time=0)


@pytest.mark.parametrize(
    ("cycles", "wavelength"), [((0, 8), 16), ((6, 0), 16), ((0, 32), 4), ((24, 0), 4), ((3, 4), 22.6)]
)
def test_a_wave_has_its_power_at_its_wavelength_in_every_direction(cycles: tuple[int, int], wavelength: float) -> None:
    """In km, with pixels of 2 km, on a grid that is no square."""
    power = scored(waves(*cycles), waves(0, 1), pixel_km=2, tapered=False).spectrum_forecast
    peak = float(power.wavelength[int(power.values.argmax())])
    assert peak == pytest.approx(wavelength, rel=0.1)
    assert float(power.max()) > 1e9 * float(power.drop_sel(wavelength=peak).max())


def test_the_spectrum_is_that_of_a_loop_over_modes() -> None:
    random = np.random.default_rng(1)
    for shape in ((12, 15), (15, 12), (9, 20)):
        fields = random.gamma(0.5, 3, (2, *shape))
        power = np.abs(np.fft.fft2(fields)) ** 2 / (shape[0] * shape[1])
        rings: dict[int, list[float]] = {}
        for i, fy in enumerate(np.fft.fftfreq(shape[0])):
            for j, fx in enumerate(np.fft.fftfreq(shape[1])):
                rings.setdefault(round(np.hypot(fy, fx) * max(shape)), []).append(power[:, i, j].mean())
        ours = scored(fields, fields, tapered=False).spectrum_observed
        expected = [np.mean(rings[k]) for k in range(1, max(shape) // 2 + 1)]
        np.testing.assert_allclose(ours.values, expected)
        np.testing.assert_allclose(ours.wavelength.values, max(shape) / np.arange(1, max(shape) // 2 + 1))


@pytest.mark.parametrize("size", [36, 37])
@pytest.mark.parametrize("tapered", [True, False])
def test_spectra_of_squares_are_those_of_pysteps(rain_pair: Rain, size: int, tapered: bool) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
        spectral = pytest.importorskip("pysteps.utils.spectral")
    square = Rain(rain_pair.forecast[..., :size, :size], rain_pair.observed[..., :size, :size])
    ours = Spectrum([10, 20], (size, size), tapered=tapered)
    ours.update(*square.tensors)
    spectra = ours.compute()
    window = np.outer(np.hanning(size), np.hanning(size)) if tapered else np.ones((size, size))
    for step in range(2):
        for which, name in enumerate(("spectrum_forecast", "spectrum_observed")):
            rates = [image[which] for image in square.images(step)]
            images = [(rate - np.average(rate, weights=window)) * window for rate in rates]
            theirs = np.mean([spectral.rapsd(image, fft_method=np.fft) for image in images], axis=0)[1:]
            np.testing.assert_allclose(spectra[name][step].values[: len(theirs)], theirs, rtol=1e-6, atol=1e-6)


def test_a_filter_has_the_resolution_where_it_halves_the_power() -> None:
    random = np.random.default_rng(2)
    observed = random.gamma(0.5, 4, (6, *SHAPE))
    frequency = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.rfftfreq(SHAPE[1]))
    transfer = 1 / np.sqrt(1 + (frequency * 20.5) ** 8)  # half of the power at 20.5 pixels
    forecast = np.fft.irfft2(np.fft.rfft2(observed) * transfer, s=SHAPE)
    wavelengths = 64 / np.arange(1, 33)
    first_below = wavelengths[wavelengths < 20.5].max()
    scores = scored(forecast, observed, pixel_km=3, tapered=False)
    assert scores.effective_resolution == pytest.approx(3 * first_below)
    # 10 lg(transfer²) at each ring, as far as rings are thin.
    expected = np.sqrt(np.mean((10 * np.log10(1 + (20.5 / wavelengths) ** 8)) ** 2))
    assert float(scores.log_spectral_distance) == pytest.approx(expected, rel=0.02)


def test_half_of_the_amplitude_is_six_decibel_and_resolves_nothing() -> None:
    observed = np.random.default_rng(3).gamma(0.5, 4, SHAPE)
    scores = scored(observed / 2, observed)
    assert float(scores.log_spectral_distance) == pytest.approx(20 * np.log10(2))
    assert scores.effective_resolution == 64


def test_a_perfect_forecast_resolves_two_pixels() -> None:
    observed = np.random.default_rng(4).gamma(0.5, 4, SHAPE)
    scores = scored(observed, observed, pixel_km=2)
    assert (scores.log_spectral_distance, scores.effective_resolution) == (0, 4)


def test_where_all_is_dry_there_is_no_distance_and_no_resolution() -> None:
    scores = scored(np.zeros(SHAPE), np.zeros(SHAPE))
    assert np.isnan([scores.log_spectral_distance, scores.effective_resolution]).all()


def test_a_taper_hides_the_jump_between_borders() -> None:
    """A slope across the field is no small-scale rain."""
    slope = np.tile(np.linspace(0, 10, SHAPE[1]), (SHAPE[0], 1))
    tapered, plain = (scored(slope, slope, tapered=taper).spectrum_observed.values for taper in (True, False))
    assert (tapered[8:] / tapered[0] < 1e-3 * plain[8:] / plain[0]).all()


@pytest.mark.parametrize("tapered", [True, False])
def test_the_mean_rate_is_in_no_wavelength(tapered: bool) -> None:
    observed = np.random.default_rng(6).gamma(0.5, 4, SHAPE)
    scores = scored(observed + 50, observed, tapered=tapered)
    np.testing.assert_allclose(scores.spectrum_forecast, scores.spectrum_observed)


def test_other_fields_are_refused() -> None:
    score = Spectrum([5], (8, 9))
    with pytest.raises(InputError, match="8×9 pixels cannot take 9×8"):
        score.update(torch.zeros(1, 1, 1, 9, 8), torch.zeros(1, 1, 1, 9, 8))
    with pytest.raises(InputError, match="not 3×9"):
        Spectrum([5], (3, 9))
