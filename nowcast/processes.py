"""What the processes of one training tell each other, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import lightning.pytorch as pl
import torch.distributed as dist

from nowcast.contracts import InputError

# In the errors of gloo, of PyTorch's store, and of NCCL.
LOST = ("Connection closed by peer", "Connection reset by peer", "Connection was likely closed", "ncclRemoteError")
T = TypeVar("T")


def from_all(trainer: pl.Trainer, mine: T) -> list[T]:
    """What each process has, in the order of their ranks; every process must call it.

    Args:
        trainer: of the processes.
        mine: what this process has; it can be pickled.
    """
    everywhere = [mine] * trainer.world_size
    if trainer.world_size > 1:
        dist.all_gather_object(everywhere, mine)
    return everywhere


@contextmanager
def others_explained() -> Iterator[None]:
    """Turn the error of a process that waited for one which is no more into a line.

    Raises:
        InputError: when another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(said in str(error) for said in LOST):
            raise
        raise InputError(
            "another process of this training has ended: its last message says why, or it was killed; --resume goes on"
        ) from error


def end_together(trainer: pl.Trainer) -> None:
    """Have no process end while others write: one that fails in its last moment would have them ended, too."""
    trainer.strategy.barrier()
    if dist.is_initialized():
        dist.destroy_process_group()
