"""Radar precipitation nowcasting: where rain will be in the next two hours, from the last radar frames.

>>> forecaster = nowcast.load("runs/quickstart/best.ckpt")
>>> forecaster.forecast(past, steps=12)  # (B, T_in, C, H, W) mm/h with NaN → (B, 12, C, H, W) mm/h
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nowcast.trained import Trained

__version__ = "0.1.0"


def load(path: str | os.PathLike, device: str = "cpu") -> "Trained":
    """A checkpoint (or run folder) as a Forecaster; see `nowcast.trained.Trained.load`."""
    from nowcast.trained import Trained  # torch takes seconds to import, and not every use of nowcast needs it

    return Trained.load(path, device)
