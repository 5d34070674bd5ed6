"""Batches of forecasts: their frames, the work of this process on one after another, and where they go."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from nowcast.contracts import Forecaster
from nowcast.data.archive import Archive
from nowcast.data.forecast_output import ForecastOutput
from nowcast.forecasting.wanted import Wanted, forecast_fields


def pipelined(
    forecaster: Forecaster,
    archive: Archive,
    store: ForecastOutput,
    starts: np.ndarray,
    steps: int,
    wanted: Wanted,
    batches: Sequence[range],
) -> Iterator[range]:
    """Yield each batch when it is written.

    One thread reads and writes, for the libraries beneath are not safe in two. It reads a batch before it writes the
    one before it, so that forecasting never waits for a write.

    Args:
        forecaster: makes the forecasts.
        archive: of the frames.
        store: takes them.
        starts: (number, T_in) frame indices.
        steps: lead times.
        wanted: what is written beside the rain rate.
        batches: numbers of forecasts that are made together.
    """
    with ThreadPoolExecutor(1, "files") as files:
        frames = Frames(archive)
        reading: Future | None = files.submit(frames.pasts, starts[batches[0]]) if batches else None
        writing: Future | None = None
        try:
            for place, batch in enumerate(batches):
                assert reading is not None
                past = reading.result()
                following = batches[place + 1 : place + 2]
                reading = files.submit(frames.pasts, starts[following[0]]) if following else None
                fields = forecast_fields(forecaster, past, steps, wanted)
                if writing is not None:
                    yield writing.result()
                writing = files.submit(write_batch, store, batch, fields)
                del fields
            if writing is not None:
                yield writing.result()
        except BaseException:
            files.shutdown(cancel_futures=True)
            raise


def write_batch(store: ForecastOutput, batch: range, fields: Mapping[str, np.ndarray]) -> range:
    """Write the forecasts of a batch, (B, steps, …, H, W) by name of the field, that are not there yet."""
    for place, number in enumerate(batch):
        if not store.has(number):
            store.write(number, {name: values[place] for name, values in fields.items()})
    return batch


class Frames:
    """Reads the frames of batches, and keeps those that the next one is likely to need again."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.kept: dict[int, np.ndarray] = {}

    def pasts(self, rows: np.ndarray) -> torch.Tensor:
        """(B, T_in) frame indices → (B, T_in, 1, H, W) mm/h."""
        wanted = np.unique(rows).tolist()
        self.kept = {index: self.kept[index] if index in self.kept else self.archive.read(index) for index in wanted}
        return torch.from_numpy(np.stack([np.stack([self.kept[i] for i in row]) for row in rows])).unsqueeze(2)
