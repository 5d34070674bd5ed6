"""Recurrent cells for encoder–forecasters: one a file, named in configs by its file, such as "traj_gru"."""

from collections.abc import Mapping
from typing import Any, cast

from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError
from nowcast.models._blocks import AttentionFactory
from nowcast.models._cells._cell import Cell, State

__all__ = ["CATALOGUE", "Cell", "State", "create"]

CATALOGUE = Catalogue(__name__, "cell")


def create(
    spec: str | Mapping[str, Any], channels: int, width: int, attention: AttentionFactory | None, on: str
) -> Cell:
    """Build a cell from its name, or its name with options.

    Args:
        spec: "conv_gru" or {"name": "conv_gru", "kernel": 3}.
        channels: of its input; 0 for a cell that has none.
        width: channels of its hidden state.
        attention: builds attention for a number of channels.
        on: what the attention sees: "input", "hidden" or "gates".

    Raises:
        InputError: for a name or option that does not exist.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in options:
        raise InputError(f"cell {options} names no cell; write {{name: conv_gru, kernel: 3}}")
    made = CATALOGUE.create(options.pop("name"), channels, width, attention=attention, on=on, **options)
    return cast(Cell, made)
