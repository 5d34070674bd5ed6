"""What to do when a training does not fit into memory, said with its numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nowcast.contracts import InputError
from nowcast.data.datamodule import RadarData

CPU_MESSAGE = "can't allocate memory"  # of the error that PyTorch has for main memory, a plain RuntimeError


@contextmanager
def memory_explained(data: RadarData, network: nn.Module) -> Iterator[None]:
    """Turn an out-of-memory error into a message that names what was asked for and what to change.

    Args:
        data: of the training, whose batches and crops are named.
        network: that is trained.

    Raises:
        InputError: for an out-of-memory error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
        peak = torch.cuda.max_memory_allocated() / 2**30
        used = f"the device's {total:.1f} GiB are not enough ({peak:.1f} used by this training, {free:.1f} free)"
        raise InputError(f"{used} for {_sizes(data)}; {_advice(data, network)}") from error
    except RuntimeError as error:
        if CPU_MESSAGE not in str(error):
            raise
        raise InputError(f"main memory is not enough for {_sizes(data)}; {_advice(data, network)}") from error


def _sizes(data: RadarData) -> str:
    window, crops = data.window, data.crops
    return (
        f"batches of {data.batch_size} windows of {window.past_frames} + {window.steps} frames, "
        f"{crops.size} × {crops.size} pixels"
    )


def _advice(data: RadarData, network: nn.Module) -> str:
    half = max(data.batch_size // 2, 1)
    smaller = (
        f"--data.loading.batch_size {half} --trainer.accumulate_grad_batches 2 (the same training), --auto_batch true, "
        if data.batch_size > 1
        else ""
    )
    # Networks that can repeat a forward pass instead of keeping it have this switch.
    switched_off = any(getattr(module, "checkpointing", True) is False for module in network.modules())
    repeated = "gradient checkpointing (the network's option checkpointing: true), " if switched_off else ""
    return (
        f"try {smaller}{repeated}--data.crops.size {max(data.crops.size // 2, 16)}, --trainer.precision bf16-mixed, "
        "or a smaller network; where validation does not fit, --data.crops.tile"
    )
