"""Work shared out among processes of this machine by Lightning's predict loop."""

import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing import get_context
from queue import Empty
from threading import Thread
from typing import Any, TypeVar

import lightning.pytorch as pl
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing import ProcessExitedException
from torch.utils.data import DataLoader

from nowcast.allocator import keep_freed_memory
from nowcast.contracts import InputError
from nowcast.quiet import calm

LOOK_S = 0.2
T = TypeVar("T")


class ProcessLost(InputError):
    """A process was ended from outside."""


def predicted(work: Callable[[T, int], Any], pieces: Sequence[T], jobs: int) -> Iterator[T]:
    """Each piece of work when it is done, in any order; process k of n does every n-th piece from the k-th.

    Args:
        work: what to do with a piece in a process of this number; it and the pieces can be pickled.
        pieces: of work.
        jobs: processes.

    Raises:
        InputError: as the work does.
        OSError: likewise.
        ProcessLost: when a process was ended; then the others are, too.
    """
    if not pieces:
        return
    told: Any = get_context("spawn").Queue()
    loop = _Loop(work, pieces, told)
    # The processes exchange nothing, so the CPU's strategy serves for work on any device.
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=min(jobs, len(pieces)),
        strategy=_Spawned(start_method="spawn", timeout=timedelta(days=365)),
        plugins=LightningEnvironment(),  # also within a job of SLURM, of which it does not take the tasks
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    ended: list[Exception] = []

    def run() -> None:
        try:
            trainer.predict(loop, return_predictions=False)
        except Exception as error:
            ended.append(error)

    running = Thread(target=run, name="predict", daemon=True)
    running.start()
    try:
        failure: Exception | None = None
        while running.is_alive() or not told.empty():
            try:
                news = told.get(timeout=LOOK_S)
            except Empty:
                continue
            if isinstance(news, Exception):
                failure = failure or news
            else:
                yield pieces[news]
        if failure:
            raise failure
        if ended and isinstance(ended[0], ProcessExitedException):
            raise ProcessLost(f"{ended[0]}, perhaps for want of memory") from ended[0]
        if ended:
            raise ended[0]
    finally:
        if running.is_alive() and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)


class _Loop(pl.LightningModule):
    """Its samples are the numbers of pieces, of which Lightning's sampler gives each process its own."""

    def __init__(self, work: Callable[[T, int], Any], pieces: Sequence[T], told: Any) -> None:
        super().__init__()
        self.work, self.pieces, self.told = work, pieces, told

    def predict_dataloader(self) -> DataLoader:
        return DataLoader(range(len(self.pieces)), batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, number: int) -> None:
        try:
            self.work(self.pieces[int(number)], self.local_rank)
        except (InputError, OSError) as error:  # which the user can mend
            self.told.put(error)
            raise
        self.told.put(int(number))


class _Spawned(DDPStrategy):
    """Lightning's own, whose processes are as calm and as fast as the program that began them."""

    def setup_environment(self) -> None:
        calm()
        keep_freed_memory()
        super().setup_environment()
