"""Forecasting networks: one architecture a file, (B, T_in, C, H, W) → (B, steps, outputs, H, W), scaled.

Each is built from `past_frames`, `steps`, `channels`, `outputs` and named options. Configs select one by its class
path; a network that stands inside another is named by its file: {"name": "se_resunet", "width": 32}.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError

CATALOGUE = Catalogue(__name__, "network")


def names() -> list[str]:
    """Names of all networks, sorted."""
    return CATALOGUE.names()


def create(spec: str | Mapping[str, Any], **lengths: Any) -> nn.Module:
    """Build a network from its name, or its name with options.

    Args:
        spec: "se_resunet" or {"name": "se_resunet", "width": 32}.
        lengths: past_frames, steps, channels and outputs.

    Raises:
        InputError: for a name or option that does not exist.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in options:
        raise InputError(f"network {options} names no network; write {{name: se_resunet, width: 32}}")
    name = options.pop("name")
    return CATALOGUE.create(name, **lengths, **options)
