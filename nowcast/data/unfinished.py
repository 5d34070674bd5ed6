"""What long runs share that may be stopped anywhere: a hidden folder, its lock, and a word when disks are full.

A run works in a hidden folder beside its output, which appears under its name when all of it is there. A folder that
was left behind says that a run was stopped, and another may go on with it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nowcast.contracts import InputError

FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def unfinished_folder(output: Path) -> Path:
    """The hidden folder of an output."""
    return output.with_name(f".{output.name}.unfinished")


@contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; the lock goes with the process, however it ends.

    Raises:
        InputError: when another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is writing {output}; wait for it or name another output") from error
        yield


@contextmanager
def told_when_full(output: Path) -> Iterator[None]:
    """Turn the error of a full disk into an InputError that says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(
            f"{output} cannot be written ({os.strerror(error.errno)}); make room on the disk, then --resume goes on"
        ) from error


@contextmanager
def told_as_os_error(output: Path) -> Iterator[None]:
    """The NetCDF library does not say why it cannot write; where the disk is writable it is for want of room."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.ENOSPC, str(error), str(output)) from error
