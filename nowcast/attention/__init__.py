"""The library of visual attention: one mechanism a file, every one (B, C, H, W) → (B, C, H, W).

The promise, the same for each: it is built from the number of channels and keyword options alone; it takes
any height and width, any batch (one sample too) and any float type; samples do not mix; every weight learns;
it is finite on a dry map. Sequences enter as (B, T, C, H, W) where `info(name).shape` says so.

    >>> from nowcast import attention
    >>> attention.create("se", 64, reduction=8)
    >>> attention.create(["cbam", {"name": "eca", "kernel": 5}], 64)  # a chain
    >>> attention.create({"parallel": ["se", "eca"], "fuse": "sum"}, 64)
    >>> attention.create({"residual": "cbam"}, 64)  # x + γ·cbam(x), γ from 0
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch
from torch import nn

from nowcast.attention._card import Card, Info
from nowcast.attention._compose import Parallel, ScaledResidual
from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError

CATALOGUE = Catalogue(__name__, "attention")

# What a config may say where a network takes attention: nothing, a name, a name with options, several in a
# chain or in parallel, or a residual.
Spec = str | Mapping[str, Any] | Sequence[Any] | None


def names(family: str | None = None) -> list[str]:
    """Names of all mechanisms, or of one family, sorted.

    Raises:
        InputError: for a family that does not exist.
    """
    families = {name: card(name).family for name in CATALOGUE.names()}
    if family is not None and family not in families.values():
        raise InputError(f"no attention is of family {family!r}; there are {', '.join(sorted(set(families.values())))}")
    return [name for name, its_family in families.items() if family in (None, its_family)]


def card(name: str) -> Card:
    """What the file of a mechanism says of it."""
    return CATALOGUE.module(name).CARD


def info(name: str) -> Info:
    """All about a mechanism: its card, its options with defaults, its number of parameters at 64 channels."""
    member = CATALOGUE.member(name)
    with torch.random.fork_rng(devices=[]):
        parameters = sum(weight.numel() for weight in member(64).parameters())
    _, *options = inspect.signature(member).parameters.values()
    return Info(
        **asdict(card(name)),
        name=name,
        options={option.name: option.default for option in options},
        parameters=parameters,
        description=inspect.getdoc(member) or "",
    )


def create(spec: Spec, channels: int, **options: Any) -> nn.Module:
    """Build attention for maps of `channels` channels from what a config says.

    Args:
        spec: None (nothing: an identity), a name, {"name": …, option: value, …}, a list of specs as a chain,
            {"parallel": [spec, …], "fuse": "sum" or "concat"}, or {"residual": spec}.
        channels: C of the maps it will see.
        options: of the mechanism, when spec is a name.

    Raises:
        InputError: for a name or an option that does not exist, or a value that cannot work with them.
    """
    if isinstance(spec, str):
        _check_values(spec, channels, options)
        return CATALOGUE.create(spec, channels, **options)
    if options:
        raise InputError(f"options {options} go with a name; write them into {spec}")
    if spec is None:
        return nn.Identity()
    if isinstance(spec, Mapping):
        return _from_mapping(spec, channels)
    return nn.Sequential(*(create(one, channels) for one in spec))


def _from_mapping(spec: Mapping[str, Any], channels: int) -> nn.Module:
    match dict(spec):
        case {"name": name, **options}:
            return create(name, channels, **options)
        case {"parallel": [*branches], "fuse": fuse, **rest} if not rest:
            return Parallel([create(one, channels) for one in branches], channels, fuse)
        case {"parallel": [*branches], **rest} if not rest:
            return Parallel([create(one, channels) for one in branches], channels)
        case {"residual": branch, **rest} if not rest:
            return ScaledResidual(create(branch, channels))
    raise InputError(
        f"attention {dict(spec)} is none of {{name: se, reduction: 8}}, {{parallel: [se, eca], fuse: sum}} "
        "(fuse is sum or concat) and {residual: se}"
    )


def _check_values(name: str, channels: int, options: Mapping[str, Any]) -> None:
    """Refuse what can be seen to be wrong from the signature alone, the same for every mechanism."""
    ratio = options.get("reduction")
    if isinstance(ratio, int | float) and not 1 <= ratio <= channels:
        raise InputError(
            f"{name} with reduction {ratio} leaves no channel of {channels}; from 1 to {channels} would do"
        )
    parameters = inspect.signature(CATALOGUE.member(name)).parameters
    for option, value in options.items():
        choices = _choices(parameters[option].annotation) if option in parameters else ()
        if choices and value not in choices:
            raise InputError(f"{name} has no {option} {value!r}; it has {', '.join(map(str, choices))}")


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Values that a Literal (or a Literal or None) allows; nothing for any other annotation."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if not all(kind is NoneType or get_origin(kind) is Literal for kind in kinds):
        return ()
    return tuple(value for kind in kinds for value in get_args(kind) or (None,))
