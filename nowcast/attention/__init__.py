"""The library of visual attention: one mechanism a file, every one (B, C, H, W) → (B, C, H, W).

The promise, the same for each: it is built from the number of channels and keyword options alone; it takes any height
and width, any batch (one sample too) and any float type; samples do not mix; every weight learns; it is finite on a dry
map. Sequences enter as (B, T, C, H, W) where `info(name).shape` says so.

    >>> from nowcast import attention
    >>> attention.create("se", 64, reduction=8)
    >>> attention.create(["cbam", {"name": "eca", "kernel": 5}], 64)  # a chain
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nowcast.attention._card import Card
from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError

CATALOGUE = Catalogue(__name__, "attention")

# What a config may say where a network takes attention: nothing, a name, a name with options, or several in a chain.
Spec = str | Mapping[str, Any] | Sequence[Any] | None


def names(family: str | None = None) -> list[str]:
    """Names of all mechanisms, or of one family, sorted."""
    return [name for name in CATALOGUE.names() if family is None or info(name).family == family]


def info(name: str) -> Card:
    """The card of a mechanism: paper, equation, cost."""
    return CATALOGUE.module(name).CARD


def create(spec: Spec, channels: int, **options: Any) -> nn.Module:
    """Build attention for maps of `channels` channels from what a config says.

    Args:
        spec: None (nothing: an identity), a name, {"name": …, option: value, …}, or a list of these as a chain.
        channels: C of the maps it will see.
        options: of the mechanism, when spec is a name.

    Raises:
        InputError: for a name or an option that does not exist, or a reduction that leaves no channel.
    """
    if spec is None:
        return nn.Identity()
    if isinstance(spec, str):
        _check_reduction(spec, channels, options)
        return CATALOGUE.create(spec, channels, **options)
    if isinstance(spec, Mapping):
        if "name" not in spec:
            raise InputError(f"attention {dict(spec)} has no name; write {{name: se, reduction: 8}}")
        return create(spec["name"], channels, **{k: v for k, v in spec.items() if k != "name"}, **options)
    return nn.Sequential(*(create(one, channels, **options) for one in spec))


def _check_reduction(name: str, channels: int, options: Mapping[str, Any]) -> None:
    ratio = options.get("reduction")
    if ratio is not None and channels // ratio < 1:
        raise InputError(f"{name} with reduction {ratio} leaves no channel of {channels}; at most {channels}")
