"""Libraries that speak only when they have something to say to the user of a program."""

import logging
import os
import warnings


def calm() -> None:
    """Silence advertising, banners and warnings that a user can do nothing about."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "torch.multiprocessing.spawn", "wandb"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for package in ("lightning", "torch", "wandb", "zarr", "pysteps"):
        warnings.filterwarnings("ignore", module=rf"{package}(\..*)?$")
