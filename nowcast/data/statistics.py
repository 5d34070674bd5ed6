"""How rain looks as numbers: wet share, intensities, spectrum and lifetime of (T, H, W) rain rates in mm/h.

NaN is not observed and is left out wherever pixels are counted. Logarithmic measures are of dB rain rate,
10 log₁₀ R, with everything under 0.1 mm/h as dry at −10 dB.

Spectral slope as in Pegram and Clothier (2001, doi 10.5194/hess-5-23-2001); lifetime along the motion as in
Germann and Zawadzki (2002, doi 10.1175/1520-0493(2002)130<2859:SDOTPO>2.0.CO;2).
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft, signal

WET = 0.1  # mm/h


def decibels(rate: np.ndarray) -> np.ndarray:
    """Rain rate in dB, 10 log₁₀ R, where dry is −10; NaN stays NaN."""
    return 10 * np.log10(np.maximum(rate, WET))


def share(rate: np.ndarray, threshold: float = WET) -> float:
    """Share of the observed pixels whose rate reaches a threshold in mm/h; NaN where nothing is observed."""
    observed = np.count_nonzero(~np.isnan(rate))
    return np.count_nonzero(rate >= threshold) / observed if observed else float("nan")


def wet_quantiles(rate: np.ndarray, levels: Sequence[float] = (0.5, 0.9, 0.99)) -> np.ndarray:
    """Quantiles of the rates of wet pixels in mm/h, NaN where none is wet."""
    wet = rate[rate >= WET]
    return np.quantile(wet, levels) if wet.size else np.full(len(levels), np.nan)


def power_spectrum(rate: np.ndarray, pixel_km: float, bins: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Power of dB rain rate at each wavelength, averaged over directions and frames.

    Unobserved pixels count as dry and a Hann window fades the borders. Rings are of equal width in log wavenumber
    from twice the grid length to half the smaller side; those without a wavenumber are left out.

    Args:
        rate: (T, H, W) mm/h.
        pixel_km: grid length.
        bins: number of rings.

    Returns:
        Wavelengths in km, falling, and the mean power of each ring, in arbitrary units.
    """
    height, width = rate.shape[1:]
    field = np.nan_to_num(decibels(rate), nan=10 * np.log10(WET))
    field = field - field.mean(axis=(1, 2), keepdims=True)
    window = np.outer(signal.windows.hann(height), signal.windows.hann(width))
    power = (np.abs(fft.rfft2(field * window)) ** 2).mean(axis=0)
    wavenumber = np.hypot(fft.fftfreq(height, pixel_km)[:, None], fft.rfftfreq(width, pixel_km))
    edges = np.geomspace(2 / (min(height, width) * pixel_km), 0.5 / pixel_km, bins + 1)
    ring = np.digitize(wavenumber, edges).ravel()
    count, total, place = (
        np.bincount(ring, weights, bins + 2)[1 : bins + 1]
        for weights in (
            None,
            power.ravel(),
            np.log(wavenumber, where=wavenumber > 0, out=wavenumber * 0).ravel(),
        )
    )
    full = count > 0
    return np.exp(-place[full] / count[full]), total[full] / count[full]


def spectral_slope(rate: np.ndarray, pixel_km: float, shortest_km: float = 4.0, longest_km: float = 64.0) -> float:
    """Exponent of power against wavenumber between two wavelengths (about −2 to −3 for rain).

    A straight line through log power, every octave of wavelength weighing the same.
    """
    wavelength, power = power_spectrum(rate, pixel_km)
    within = (wavelength >= shortest_km) & (wavelength <= longest_km)
    return float(np.polyfit(-np.log(wavelength[within]), np.log(power[within]), 1)[0])


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of the dB rain rates of two fields over the pixels that both know; NaN where one is flat."""
    known = ~(np.isnan(first) | np.isnan(second))
    one, other = (decibels(field[known]) for field in (first, second))
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def decorrelation_time(minutes: Sequence[float], correlations: Sequence[float]) -> float:
    """Minutes until the correlation of rain with itself has fallen to 1/e.

    Linear between the lead times around the fall. A correlation that is still higher at the last one is taken to
    fall on exponentially at its mean rate so far.

    Args:
        minutes: lead times, rising, from the first after 0.
        correlations: of fields carried along their motion with the fields observed then.
    """
    times, values = np.append(0.0, minutes), np.append(1.0, correlations)
    target = np.exp(-1)
    below = np.flatnonzero(values <= target)
    if not below.size:
        return float(-times[-1] / np.log(values[-1])) if values[-1] < 1 else float("inf")
    after = below[0]
    return float(np.interp(target, values[[after, after - 1]], times[[after, after - 1]]))
