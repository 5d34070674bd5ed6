"""SAL: showers of known displacement, amount and size; pysteps image by image."""

import contextlib
import io

import numpy as np
import pytest
import torch

from nowcast.verification import StructureAmplitudeLocation
from tests.verification.conftest import Rain

with contextlib.redirect_stdout(io.StringIO()):  # it says hello when imported
    pysteps_sal = pytest.importorskip("pysteps.verification.salscores")

SHAPE = (40, 56)


def shower(row: float = 20, column: float = 20, size: float = 3, rate: float = 10) -> torch.Tensor:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    field = rate * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))
    return torch.from_numpy(np.where(field < 1e-3, 0, field)).reshape(1, 1, 1, *SHAPE)


def scored(forecast: torch.Tensor, observed: torch.Tensor) -> dict[str, float]:
    score = StructureAmplitudeLocation([5])
    score.update(forecast, observed)
    return {str(name).removeprefix("sal_"): value.item() for name, value in score.compute().data_vars.items()}


def test_a_displaced_shower_errs_in_location_alone() -> None:
    scores = scored(shower(column=28), shower())
    assert scores["location"] == pytest.approx(8 / np.hypot(*SHAPE), abs=1e-4)
    assert (scores["structure"], scores["amplitude"]) == pytest.approx((0, 0), abs=1e-6)


def test_twice_the_rain_errs_in_amplitude_alone() -> None:
    scores = scored(shower(rate=20), shower(rate=10))
    assert scores["amplitude"] == pytest.approx(2 / 3, abs=1e-3)
    assert (scores["structure"], scores["location"]) == pytest.approx((0, 0), abs=1e-2)


def test_a_flat_shower_has_too_much_structure_and_opposite_errors_do_not_cancel() -> None:
    wide, narrow = shower(size=5, rate=4), shower(size=3, rate=10)
    assert scored(wide, narrow)["structure"] > 0.5
    both = scored(torch.cat([wide, narrow]), torch.cat([narrow, wide]))
    assert both["structure"] == pytest.approx(0)
    assert both["abs_structure"] == pytest.approx(scored(wide, narrow)["structure"])
    assert both["count"] == 2


def test_an_image_without_rain_has_no_sal() -> None:
    dry = torch.zeros_like(shower())
    assert scored(dry, shower())["count"] == scored(shower(), dry)["count"] == scored(dry, dry)["count"] == 0
    drop = dry.clone()
    drop[..., 5, 5] = 3  # less than the 50 pixels of an object
    assert scored(drop, shower())["count"] == scored(shower(), drop)["count"] == 0
    some = scored(torch.cat([dry, shower(column=28)]), torch.cat([shower(), shower()]))
    assert (some["count"], some["location"]) == (1, pytest.approx(8 / np.hypot(*SHAPE), abs=1e-4))


def test_means_are_those_of_pysteps(rain_pair: Rain) -> None:
    ours = StructureAmplitudeLocation([10, 20])
    ours.update(*rain_pair.tensors)
    for step in range(2):
        parts = [pysteps_sal.sal(forecast, observed) for forecast, observed, _ in rain_pair.images(step)]
        parts = [part for part in parts if np.isfinite(part).all()]
        assert ours.compute().sal_count[step] == len(parts) > 0
        for name, values in zip(("structure", "amplitude", "location"), np.transpose(parts), strict=True):
            assert ours.compute()[f"sal_{name}"][step].item() == pytest.approx(values.mean(), abs=1e-6)
