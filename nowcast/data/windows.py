"""Windows: contiguous frames at one time step, past then future, never across a gap."""

from dataclasses import dataclass

import numpy as np

from nowcast.contracts import InputError
from nowcast.data.archive import Archive


@dataclass(frozen=True)
class Window:
    """How long a sample is.

    Args:
        past_frames: frames that a forecast is made from, T_in.
        steps: frames that are forecast, T_out.
        step_minutes: time between frames; a multiple of the archive's own step.
    """

    past_frames: int = 4
    steps: int = 12
    step_minutes: float = 5

    def __post_init__(self) -> None:
        if self.past_frames < 1 or self.steps < 1 or self.step_minutes <= 0:
            raise InputError(f"a window needs at least one past frame, one step and a positive time step, not {self}")

    @property
    def frames(self) -> int:
        """T_in + T_out."""
        return self.past_frames + self.steps

    @property
    def lead_times(self) -> list[float]:
        """Minutes from the last past frame to each forecast frame."""
        return [self.step_minutes * (k + 1) for k in range(self.steps)]


def find_windows(
    archive: Archive,
    frames: int,
    step_minutes: float,
    begin: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
) -> np.ndarray:
    """All runs of frames of an archive that lie wholly within [begin, end).

    Args:
        archive: where to look.
        frames: length of a run.
        step_minutes: time between its frames.
        begin, end: a block of time; None is open.

    Returns:
        (number of windows, frames) frame indices, in the order of time. A frame counts when its time is
        within a tenth of the archive's step of where it should be; a window that lacks any frame is left out.

    Raises:
        InputError: when the archive's step cannot serve this one.
    """
    check_step(archive, step_minutes)
    offsets = np.arange(frames) * np.timedelta64(round(step_minutes * 60_000), "ms")
    found = archive.find((archive.times[:, None] + offsets).ravel()).reshape(-1, frames)
    whole = (found >= 0).all(axis=1)
    if begin is not None:
        whole &= archive.times >= begin
    if end is not None:
        whole &= archive.times + offsets[-1] < end
    return found[whole]


def check_step(archive: Archive, step_minutes: float) -> None:
    """Raise InputError unless frames `step_minutes` apart can be had from the archive."""
    ratio = step_minutes * 60 / archive.step_s
    if not np.isnan(ratio) and (ratio < 0.95 or abs(ratio - round(ratio)) > 0.05):
        raise InputError(
            f"{archive.paths[0]} has a step of {archive.step_s / 60:g} min, which cannot serve a step of "
            f"{step_minutes:g} min; choose a multiple of it, or resample the archive"
        )
