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
        lost: what comes of a piece that ends its process, as damaged data does to libraries in C.
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
                for _, other in waiting:  # one of them may be the culprit; when they are done, this one goes alone
                    other.exception()
            try:
                return piece, client.submit(function, piece, pure=False).result()
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

    settings = {"logging.distributed": "critical", "distributed.scheduler.allowed-failures": 0}
    with dask.config.set(settings):
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
