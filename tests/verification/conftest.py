"""Random and real rain to compare our scores with those of other libraries."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr


class Rain(NamedTuple):
    """Forecast, observed (B, T_out, C, H, W) float32 with NaN, and the pixels that the rule "observed" judges."""

    forecast: np.ndarray
    observed: np.ndarray

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.forecast), torch.from_numpy(self.observed)

    @property
    def judged(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As float64 and 0 where not judged: forecast, observed; and the pixels that are judged."""
        known = ~np.isnan(self.observed)
        forecast = np.where(known, np.nan_to_num(self.forecast.astype(np.float64)), 0)
        return forecast, np.nan_to_num(self.observed.astype(np.float64)), known

    def images(self, step: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The judged fields of one lead time, image by image."""
        return list(zip(*(field[:, step].reshape(-1, *field.shape[-2:]) for field in self.judged), strict=True))


def random_rain() -> Rain:
    """Correlated in space, partly in common to forecast and observed; scattered gaps and a corner without radar."""
    random = np.random.default_rng(11)
    shape = (3, 2, 2, 37, 44)
    waves = np.fft.rfftfreq(44) ** 2 + np.fft.fftfreq(37)[:, None] ** 2
    fields = []
    common = random.normal(size=shape)
    for _ in range(2):
        noise = np.fft.irfft2(np.fft.rfft2(common + 0.5 * random.normal(size=shape)) / (0.02 + waves), s=shape[-2:])
        rate = 3 * np.expm1(np.clip(noise / noise.std(), 0, None)).astype(np.float32)
        rate[random.random(shape) < 0.005] = np.nan
        fields.append(rate)
    fields[1][..., :8, :11] = np.nan
    fields[0][..., 30:, 40:] = np.nan
    return Rain(*fields)


def real_rain(folder: Path) -> Rain:
    """Persistence of real radar fields at the edge of its coverage, with NaN; lead times 10 and 20 min."""
    with xr.open_dataset(folder / "mch_20160711.nc") as archive:
        part = archive.rain_rate[:14, 300:370, 560:645].values
    starts = (0, 5)
    observed = np.stack([part[[start + 2, start + 4]] for start in starts])[:, :, None]
    forecast = np.stack([part[[start, start]] for start in starts])[:, :, None]
    assert np.isnan(observed).any()
    assert (observed > 5).any()
    return Rain(forecast.astype(np.float32), observed.astype(np.float32))


@pytest.fixture(scope="session", params=["random", "real"])
def rain_pair(request: pytest.FixtureRequest) -> Rain:
    """Forecast and observed rain."""
    if request.param == "random":
        return random_rain()
    return real_rain(request.getfixturevalue("real_events"))
