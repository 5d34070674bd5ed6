"""pysteps (Pulkkinen et al. 2019, doi 10.5194/gmd-12-4185-2019) imported when first needed, and kept quiet."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from types import ModuleType

import numpy as np

from nowcast.contracts import InputError

LEAST_RATE = 0.1  # mm/h; what pysteps' models take for rain
LEAST_DBR, DRY_DBR = -10.0, -15.0  # that rate in dB, and what they see where it is dry


def pysteps() -> ModuleType:
    """pysteps with what we use of it. Raises InputError where it or a library it needs later is missing."""
    try:
        with quiet():
            import cv2  # noqa: F401
            import pysteps
            import pysteps.motion
            import pysteps.nowcasts
            import skimage  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"this baseline needs pysteps, opencv and scikit-image ({error}): pip install 'nowcast[baselines]'"
        ) from error
    return pysteps


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No prints, no warnings, and numpy's global random numbers left as they were: pysteps seeds those."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def to_dbr(rate: np.ndarray) -> np.ndarray:
    """Rain rate in mm/h in dB, with everything under the least rate dry."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate >= LEAST_RATE, 10 * np.log10(rate), DRY_DBR)


def from_dbr(dbr: np.ndarray) -> np.ndarray:
    """The inverse of `to_dbr`; NaN stays NaN."""
    return np.where(dbr < LEAST_DBR, 0.0, 10 ** (dbr / 10))
