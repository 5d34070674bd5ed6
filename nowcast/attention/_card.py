"""What the catalogue says of a mechanism: each file of this folder has one CARD."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Card:
    """Facts of one attention mechanism, shown by `python -m nowcast.attention`.

    Args:
        family: channel, spatial, mixed, self-attention, temporal, frequency, fusion, hybrid or origin.
        paper: authors and title.
        source: arXiv id ("1709.01507"), DOI or venue.
        year: of first publication.
        equation: in one line, x the input and y the output.
        time: cost in multiplications; N = H·W.
        memory: extra memory of the forward pass.
        shape: "BCHW" for maps, "BTCHW" for sequences of maps, "BTCHW→BCHW" where a sequence becomes one map.
        note: departures from the paper, and what it cannot do.
    """

    family: str
    paper: str
    source: str
    year: int
    equation: str
    time: str
    memory: str
    shape: str = "BCHW"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Info(Card):
    """A card with what is known only of the class behind it.

    Args:
        name: in configs.
        options: keyword options of the constructor and their defaults.
        parameters: learnt numbers at C=64 under the defaults.
        description: docstring of the class.
    """

    name: str
    options: Mapping[str, Any]
    parameters: int
    description: str
