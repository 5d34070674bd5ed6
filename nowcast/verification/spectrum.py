"""How blurred a forecast is: its radially averaged power spectrum beside the observed one.

Harris et al. 2001, doi:10.1175/1525-7541(2001)002<0406:MSDOAN>2.0.CO;2; effective resolution as Skamarock 2004,
doi:10.1175/MWR2830.1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import reduce

from nowcast.contracts import InputError
from nowcast.verification._pixels import Pixels
from nowcast.verification._scales import check_pixel
from nowcast.verification._sums import Axis, SumsByLeadTime, Variable, share

__all__ = ["Spectrum"]


class Spectrum(SumsByLeadTime):
    """Mean power of fields of rain rate at each wavelength, forecast and observed.

    The power at one wavelength, |FFT|² / (H W), is the mean over a ring of Fourier modes, of equal width
    1 / max(H, W) cycles a pixel on any grid; rings go to the shortest wavelength of two pixels, and the mean rate
    is left out. Fields are tapered by a Hann window by default, because the jump between opposite borders of an image
    adds small-scale power that hides blur. Pixels that are not judged are dry in both fields.

    From the mean spectra follow the log-spectral distance √⟨(10 lg(forecast / observed))²⟩ over rings in dB, NaN where
    one has no power, and the effective resolution: the longest wavelength at which the forecast has less than half
    of the observed power, which is two pixels at best.

    Args:
        lead_times: minutes, rising, one for each of T_out.
        shape: H and W of the fields.
        pixel_km: width of a pixel.
        tapered: whether to taper fields towards their borders.
        pixels: "observed" (a missing forecast counts as dry) or "common" (only where both exist).

    Raises:
        InputError: for a shape without waves, or a pixel without width.
    """

    def __init__(
        self,
        lead_times: Sequence[float],
        shape: tuple[int, int],
        pixel_km: float = 1.0,
        tapered: bool = True,
        pixels: Pixels = "observed",
    ) -> None:
        super().__init__(lead_times, pixels)
        check_pixel(pixel_km)
        if min(shape) < 4:
            raise InputError(f"a spectrum needs fields of 4×4 pixels at least, not {shape[0]}×{shape[1]}")
        self.shape, self.pixel_km, self.tapered = (int(shape[0]), int(shape[1])), float(pixel_km), tapered
        self.ring = rings(self.shape)
        self.count = max(self.shape) // 2
        size = len(self.lead_times), self.count
        self.sums = {"forecast": np.zeros(size), "observed": np.zeros(size)}
        self.sums["images"] = np.zeros(len(self.lead_times), dtype=np.int64)

    @property
    def protocol(self) -> dict[str, Any]:
        """What must be the same before sums may be added."""
        return {**super().protocol, "shape": self.shape, "pixel km": self.pixel_km, "taper": self.tapered}

    @property
    def axes(self) -> tuple[Axis, ...]:
        """wavelength, from the longest to the shortest."""
        return (Axis("wavelength", self.wavelengths.tolist(), "km", "wavelength"),)

    @property
    def wavelengths(self) -> np.ndarray:
        """In km, falling."""
        return self.pixel_km * max(self.shape) / np.arange(1, self.count + 1)

    @torch.no_grad()
    def update(self, forecast: torch.Tensor, observed: torch.Tensor) -> None:
        """Sum the spectra of (B, T_out, C, H, W) fields in mm/h, NaN where missing."""
        judged = self.judge(forecast, observed)
        if tuple(forecast.shape[-2:]) != self.shape:
            wanted, given = ("×".join(map(str, size)) for size in (self.shape, forecast.shape[-2:]))
            raise InputError(f"a spectrum of fields of {wanted} pixels cannot take {given}")
        self.sums["forecast"] += self._power(judged.forecast)
        self.sums["observed"] += self._power(judged.observed)
        self.sums["images"] += forecast.shape[0] * forecast.shape[2]

    def _power(self, rate: torch.Tensor) -> np.ndarray:
        """Mean power of each ring, summed over images, (T_out, ring)."""
        window = torch.ones(self.shape, dtype=torch.float64, device=rate.device)
        if self.tapered:
            sides = [torch.hann_window(n, periodic=False, dtype=torch.float64, device=rate.device) for n in self.shape]
            window = torch.outer(*sides)
        # Without its mean, which a taper would spread over the longest wavelengths.
        mean = (rate * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
        fields = (rate - mean) * window
        # Half of the modes tell all; those between the first and the Nyquist column stand for two.
        width = self.shape[1]
        modes = torch.fft.rfft2(fields).abs().square() / (self.shape[0] * width)
        power = reduce(modes, "b t c h w -> t (h w)", "sum").cpu()
        twice = 2 - (torch.arange(width // 2 + 1) * 2 % width == 0).double()
        weight = twice.expand(self.shape[0], -1).flatten()
        ring = torch.from_numpy(self.ring)
        sums = torch.zeros(len(power), self.count + 1, dtype=torch.float64).index_add_(1, ring, power * weight)
        modes_in_ring = torch.bincount(ring, weight, minlength=self.count + 1)
        return (sums / modes_in_ring)[:, :-1].numpy()

    def variables(self) -> dict[str, Variable]:
        """spectrum_forecast and spectrum_observed; log_spectral_distance and effective_resolution by lead time."""
        images = self.sums["images"][:, None]
        forecast, observed = share(self.sums["forecast"], images), share(self.sums["observed"], images)
        ratio = share(forecast, observed)
        with np.errstate(divide="ignore", invalid="ignore"):
            decibel = 10 * np.log10(np.where(ratio > 0, ratio, np.nan))
        distance = np.sqrt(np.mean(decibel**2, axis=1))
        resolution = effective_resolution(ratio, self.wavelengths, finest=2 * self.pixel_km)
        return {
            "spectrum_forecast": Variable(forecast, "mm2 h-2", "power of the forecast"),
            "spectrum_observed": Variable(observed, "mm2 h-2", "power of the observed rain"),
            "log_spectral_distance": Variable(distance, "dB", "log-spectral distance", ()),
            "effective_resolution": Variable(resolution, "km", "wavelength with half of the observed power", ()),
        }


def rings(shape: tuple[int, int]) -> np.ndarray:
    """The ring of each mode of rfft2, flat: 0 for the longest wavelength; all that belong to none are in one behind."""
    longest = max(shape)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))  # cycles a pixel
    number = np.rint(frequency * longest).astype(np.int64).ravel()
    rest = longest // 2
    return np.where((number >= 1) & (number <= rest), number - 1, rest)


def effective_resolution(ratio: np.ndarray, wavelengths: np.ndarray, finest: float) -> np.ndarray:
    """The longest wavelength whose power ratio (…, wavelength) is below half; NaN where ratios are."""
    low = ratio < 0.5
    longest = np.where(low.any(axis=-1), wavelengths[low.argmax(axis=-1)], finest)
    return np.where(np.isnan(ratio).any(axis=-1), np.nan, longest)
