"""Work spread over processes by dask: of this machine, or of a cluster whose scheduler is named."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import dask

from nowcast.contracts import InputError

QUEUED = 2  # pieces of work a process that are under way or wait to be taken; bounds memory
PATIENCE_S = 20
SETTINGS = {"logging.distributed": "critical", "distributed.scheduler.allowed-failures": 0}
T = TypeVar("T")
R = TypeVar("R")


def spread(
    function: Callable[[T], R],
    pieces: Iterable[T],
    lost: Callable[[T], R],
    jobs: int = 1,
    scheduler: str | None = None,
) -> Iterator[tuple[T, R]]:
    """Each piece of work and what came of it, in order; only few are ahead of what is taken.

    Args:
        function: what to do with a piece; it, pieces and results can be pickled.
        pieces: of work.
        lost: what comes of a piece that ends its process, as damaged data does to libraries in C.
        jobs: processes of this machine.
        scheduler: address of a dask scheduler whose workers see the same files; then `jobs` does not count.

    Raises:
        InputError: when the scheduler cannot be reached.
    """
    work = partial(_alone, function)
    with _client(jobs, scheduler) as client:
        from distributed import KilledWorker

        def take() -> tuple[T, R]:
            piece, future = waiting.popleft()
            try:
                return piece, future.result()
            except KilledWorker:
                for _, other in waiting:  # one of them may be the culprit; when they are done, this one goes alone
                    other.exception()
            try:
                return piece, client.submit(work, piece, pure=False).result()
            except KilledWorker:
                return piece, lost(piece)

        waiting: deque[tuple[T, Any]] = deque()
        ahead = QUEUED * max(sum(client.nthreads().values()), 1)
        for piece in pieces:
            waiting.append((piece, client.submit(work, piece, pure=False)))
            if len(waiting) > ahead:
                yield take()
        while waiting:
            yield take()


def _alone(function: Callable[[T], R], piece: T) -> R:
    """Do a piece of work here: what uses dask itself, as pysteps does, must not wait for the processes it occupies."""
    with dask.config.set(scheduler="synchronous"):
        return function(piece)


def worker_number() -> int:
    """The number of the process that does a piece of work, from 0; 0 in all of a cluster that does not number them."""
    from distributed import get_worker

    name = get_worker().name
    return name if isinstance(name, int) else 0


@contextmanager
def _client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    with dask.config.set(SETTINGS):  # before the import, which sets up the logging
        from distributed import Client, LocalCluster  # takes a second, which work in one process need not wait for

        if scheduler is None:
            machine = LocalCluster(jobs, threads_per_worker=1, dashboard_address=":0")
            with machine, Client(machine, set_as_default=False) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(f"no dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client
