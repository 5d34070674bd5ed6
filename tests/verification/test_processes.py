"""Two real processes that share the cases reach the scores of one that has them all."""

import pickle
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp
import xarray as xr

from nowcast.verification import Blocks, all_reduce, interval, standard_scores
from tests.verification.kinds import KINDS, LEAD_TIMES, single

SHARES = (slice(0, 2), slice(2, None))  # unequal
LABELS = ["a", "b", "a", "c", "d", "c", "d"]  # the second process has events that the first has not
NAMES = [name for name in KINDS if name != "sal"]  # which needs pysteps, and is sums as the others


def blocks() -> Blocks:
    return Blocks(lambda: standard_scores(LEAD_TIMES))


def one_process(rank: int, folder: Path) -> None:
    """Scores its share of the cases, and writes what it has after merging."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    computed = {}
    for name in NAMES:
        score = KINDS[name].make(LEAD_TIMES)
        score.update(*(field[SHARES[rank]] for field in KINDS[name].fields()))
        all_reduce(score)
        computed[name] = score.compute()
    events = blocks()
    events.update(*(field[SHARES[rank]] for field in single()), LABELS[SHARES[rank]])
    events.all_reduce()
    computed["blocks"] = interval(events, resamples=20)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(computed))
    dist.destroy_process_group()


def test_scores_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    mp.spawn(one_process, (tmp_path,), nprocs=2)
    first, second = (pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2))
    expected = {}
    for name in NAMES:
        score = KINDS[name].make(LEAD_TIMES)
        score.update(*KINDS[name].fields())
        expected[name] = score.compute()
    events = blocks()
    events.update(*single(), LABELS)
    expected["blocks"] = interval(events, resamples=20)
    for name, whole in expected.items():
        xr.testing.assert_identical(first[name], second[name])
        xr.testing.assert_allclose(first[name], whole, rtol=1e-10, atol=1e-12)
        if name in KINDS and KINDS[name].exact:
            xr.testing.assert_identical(first[name], whole)


def test_a_process_alone_keeps_its_scores() -> None:
    score = standard_scores(LEAD_TIMES)
    score.update(*single())
    before = score.compute()
    all_reduce(score)
    xr.testing.assert_identical(score.compute(), before)
