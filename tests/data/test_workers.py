"""Work spread over processes: in order, whatever a piece does to the process it is done in."""

import os

import pytest

from nowcast.contracts import InputError
from nowcast.data.workers import QUEUED, spread


def _square(number: int) -> tuple[int, int]:
    if number == 5:
        os._exit(1)  # as a library in C does that meets damaged data
    return number**2, os.getpid()


def test_pieces_come_back_in_order_and_a_lost_one_is_told() -> None:
    asked: list[int] = []

    def pieces() -> list[int]:
        for number in range(14):
            asked.append(number)
            yield number

    got: dict[int, int] = {}
    for piece, (square, process) in spread(_square, pieces(), lambda number: (-number, 0), jobs=2):
        assert len(asked) - len(got) <= 2 * QUEUED + 1  # few are ahead
        assert process != os.getpid()
        got[piece] = square
    assert list(got.items()) == [(number, -5 if number == 5 else number**2) for number in range(14)]


def test_a_scheduler_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match="no dask scheduler answers at nowhere"):
        list(spread(_square, [1], lambda number: (0, 0), scheduler="nowhere"))


def test_a_scheduler_that_is_named_does_the_work() -> None:
    from distributed import LocalCluster

    with LocalCluster(1, processes=False, dashboard_address=":0") as cluster:
        got = list(spread(_square, [3, 2], lambda number: (0, 0), scheduler=cluster.scheduler_address))
    assert [(piece, square) for piece, (square, _) in got] == [(3, 9), (2, 4)]
