"""Checkpoint files that are whole or not there, and which of a run folder's to continue from.

A checkpoint is a zip archive in which each part has its checksum (CRC-32) and whose directory comes last, so that one
file says by itself whether it was cut off or changed.
"""

import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nowcast.contracts import InputError

NEXT, LAST, PREVIOUS, BEST = "next.ckpt", "last.ckpt", "previous.ckpt", "best.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, down to the disk, and renames it then: a crash leaves the old one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all."""
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None where all its checksums are right and it is plain data."""
    try:
        with zipfile.ZipFile(path) as file:
            part = file.testzip()
        if part is None:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:  # told here, for not every strategy of Lightning refuses it
        return "it holds code"
    except Exception as error:  # whatever a damaged file makes the readers raise
        return f"it is cut off or no checkpoint ({error})"
    return part and f"the checksum of {part} is wrong"


def to_continue_from(folder: Path) -> Path | None:
    """The newest intact checkpoint of a run folder, None if the run ended before its first; says what is damaged.

    Raises:
        InputError: when there are checkpoints and none is intact.
    """
    there = [folder / name for name in (NEXT, LAST, PREVIOUS, BEST) if (folder / name).exists()]
    for path in there:
        wrong = damage(path)
        if wrong is None:
            return path
        print(f"{path} is damaged: {wrong}; trying the one before", file=sys.stderr)
    if there:
        raise InputError(f"no checkpoint of {folder} is intact; train anew into another folder")
    return None
