"""`nowcast.train` with PyTorch's fully sharded data parallelism on CPUs, which Lightning offers for GPUs only.

It is the real thing, in real processes; only what asks for a GPU is told that a CPU will do.
"""

from typing import Any

import torch
from lightning.pytorch.trainer.connectors import accelerator_connector
from torch.distributed import fsdp
from torch.distributed.fsdp import api, fully_sharded_data_parallel

from nowcast.train import main

_device_handle = fully_sharded_data_parallel._init_device_handle
_weights, _optimiser = fsdp.FullStateDictConfig, api.FullOptimStateDictConfig


def on_the_cpu(state: Any, module: Any, ignored: Any, device: Any) -> Any:
    """PyTorch takes a CPU that is named."""
    return _device_handle(state, module, ignored, torch.device("cpu"))


def weights(offload_to_cpu: bool, rank0_only: bool) -> fsdp.FullStateDictConfig:
    """Weights that are on the CPU are not moved there, which PyTorch does not survive."""
    return _weights(offload_to_cpu=False, rank0_only=rank0_only)


def optimiser(offload_to_cpu: bool, rank0_only: bool) -> api.FullOptimStateDictConfig:
    """Neither are the optimiser's states: what stays is copied, what is moved to where it is shares one buffer."""
    return _optimiser(offload_to_cpu=False, rank0_only=rank0_only)


if __name__ == "__main__":
    accelerator_connector._AcceleratorConnector._check_strategy_and_fallback = lambda _: None
    fully_sharded_data_parallel._init_device_handle = on_the_cpu
    fsdp.FullStateDictConfig = weights  # type: ignore[misc, assignment]
    api.FullOptimStateDictConfig = optimiser  # type: ignore[misc, assignment]
    main()
