"""Structural similarity: against scikit-image, and what it is by definition."""

import numpy as np
import pytest
import torch
from scipy.ndimage import minimum_filter

from nowcast.contracts import InputError
from nowcast.scaling import dbz_to_rate
from nowcast.verification import StructuralSimilarity
from tests.verification.conftest import Rain


def test_similarity_is_that_of_scikit_image_over_windows_without_gaps(rain_pair: Rain) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 55, "full": True}
    ours = StructuralSimilarity([10, 20], largest_dbz=55)
    ours.update(*rain_pair.tensors)
    for step in range(2):
        values = []
        for *rates, known in rain_pair.images(step):
            with np.errstate(divide="ignore"):
                fields = [np.clip(10 * np.log10(200 * rate**1.6), 0, 55) for rate in rates]
            similarity = metrics.structural_similarity(*fields, **options)[1]
            whole = minimum_filter(known, 11, mode="constant", cval=0)
            values.append(similarity[whole])
        judged = np.concatenate(values)
        assert 100 < len(judged) == ours.sums["windows"][step]
        assert ours.compute().ssim[step].item() == pytest.approx(judged.mean(), abs=1e-6)


def test_a_constant_offset_costs_what_the_luminance_term_says() -> None:
    """(2 a b + c) / (a² + b² + c) with c = (0.01 · 60)², since flat fields have no structure."""
    forecast, observed = (dbz_to_rate(torch.full((1, 1, 1, 12, 14), dbz, dtype=torch.float64)) for dbz in (20.0, 40.0))
    score = StructuralSimilarity([5])
    score.update(forecast, observed)
    expected = (2 * 20 * 40 + 0.36) / (20**2 + 40**2 + 0.36)
    assert score.compute().ssim.item() == pytest.approx(expected)


def test_a_perfect_forecast_is_similar_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    observed, other = (torch.from_numpy(random.gamma(0.5, 4, (2, 1, 1, 20, 23))) for _ in range(2))
    for forecast, low, high in ((observed, 1 - 1e-12, 1 + 1e-12), (other, -0.2, 0.2)):
        score = StructuralSimilarity([5])
        score.update(forecast, observed)
        assert low <= score.compute().ssim.item() <= high


def test_small_fields_and_empty_ranges_are_refused() -> None:
    with pytest.raises(InputError, match="11×11 pixels at least, not 10×30"):
        StructuralSimilarity([5]).update(torch.zeros(1, 1, 1, 10, 30), torch.zeros(1, 1, 1, 10, 30))
    with pytest.raises(InputError, match="largest_dbz must be above 0"):
        StructuralSimilarity([5], 0)
