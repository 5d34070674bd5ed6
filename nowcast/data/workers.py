"""Work spread over processes by dask: of this machine, or of a cluster whose scheduler is named."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import dask

from nowcast.contracts import InputError

QUEUED = 2  # pieces of work a process that are under way or wait to be taken; bounds memory
PATIENCE_S = 20
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
        lost: what comes of a piece that ended two processes, as damaged data does to libraries in C.
        jobs: processes of this machine.
        scheduler: address of a dask scheduler whose workers see the same files; then `jobs` does not count.

    Raises:
        InputError: when the scheduler cannot be reached.
    """
    with _client(jobs, scheduler) as client:
        from distributed import KilledWorker

        def take() -> tuple[T, R]:
            piece, future = waiting.popleft()
            try:
                return piece, future.result()
            except KilledWorker:
                return piece, lost(piece)

        waiting: deque[tuple[T, Any]] = deque()
        ahead = QUEUED * max(sum(client.nthreads().values()), 1)
        for piece in pieces:
            waiting.append((piece, client.submit(function, piece, pure=False)))
            if len(waiting) > ahead:
                yield take()
        while waiting:
            yield take()


@contextmanager
def _client(jobs: int, scheduler: str | None) -> Iterator[Any]:
    from distributed import Client, LocalCluster  # takes a second, which work in one process need not wait for

    quiet_and_soon = {"logging.distributed": "critical", "distributed.scheduler.allowed-failures": 1}
    with dask.config.set(quiet_and_soon):
        if scheduler is None:
            with LocalCluster(jobs, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(scheduler, timeout=PATIENCE_S)
        except (OSError, ValueError) as error:
            raise InputError(f"no dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client
