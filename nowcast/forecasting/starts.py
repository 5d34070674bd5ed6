"""From which frames of an archive forecasts are made."""

import numpy as np

from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.windows import find_windows


def possible_starts(archive: Archive, past_frames: int, step_minutes: float) -> np.ndarray:
    """(number, past_frames) frame indices of every complete past in the archive, in the order of time.

    Raises:
        InputError: when the archive's step cannot serve this one, or it has no such run of frames.
    """
    pasts = find_windows(archive, past_frames, step_minutes)
    if not len(pasts):
        raise InputError(
            f"{archive.paths[0]} ({len(archive)} frames) has no {past_frames} frames in a row "
            f"{step_minutes:g} min apart"
        )
    return pasts


def choose_starts(archive: Archive, starts: np.ndarray, chosen: str) -> np.ndarray:
    """The rows of `starts` that end at the chosen times.

    Args:
        archive: of the frames.
        starts: as `possible_starts` gives them.
        chosen: "all", "last", or times like "2016-07-11T21:00,2016-07-11T22:00".

    Raises:
        InputError: for a text that is no time, or a time from which no forecast can be made.
    """
    if chosen == "all":
        return starts
    if chosen == "last":
        return starts[-1:]
    rows = []
    for text in chosen.split(","):
        try:
            time = np.datetime64(text.strip(), "ms")
        except ValueError as error:
            raise InputError(f"init {text!r} is neither all, last nor a time like 2016-07-11T21:00") from error
        row = np.flatnonzero(starts[:, -1] == archive.find(np.array([time]))[0])
        if not len(row):
            first, last = archive.times[starts[0, -1]], archive.times[starts[-1, -1]]
            raise InputError(
                f"no forecast can start at {text.strip()}: it needs a frame then and before; "
                f"from {first} to {last} there are"
            )
        rows.append(int(row[0]))
    return starts[sorted(set(rows))]
