"""What a benchmark file says: entries, budget and scores; and the single entries that it stands for."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from nowcast import attention, baselines
from nowcast.contracts import InputError
from nowcast.products import Product

ALL = "all"  # instead of a list of attentions: every one that gates a map
HERE = "*"  # in a pattern of stages: the attention of the grid


@dataclass(frozen=True)
class Budget:
    """How long each entry trains: optimiser steps, or minutes of wall clock; one of the two.

    Args:
        steps: optimiser steps.
        minutes: of training with its validations.
    """

    steps: int | None = None
    minutes: float | None = None

    def options(self) -> list[str]:
        """As options of `python -m nowcast.train`. Raises InputError unless one of the two is given."""
        given = [amount for amount in (self.steps, self.minutes) if amount is not None]
        if len(given) != 1 or given[0] <= 0:
            raise InputError(f"a budget is either steps or minutes, above 0; not steps {self.steps} and {self.minutes}")
        if self.steps is not None:
            return ["--trainer.max_epochs=-1", f"--trainer.max_steps={self.steps}"]
        seconds = round(60 * float(self.minutes or 0))
        clock = f"{seconds // 86400:02}:{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return ["--trainer.max_epochs=-1", f'--trainer.max_time="{clock}"']


@dataclass(frozen=True)
class Entries:
    """One or several entries: baselines, a checkpoint, or trainings; lists make a cross product.

    Args:
        baseline: name or names of baselines.
        checkpoint: a run folder, checkpoint or export.
        config: training config or configs, beside the benchmark's data.
        attention: attentions that networks are made with, by name or {name: …}; a list, or "all" that gate a map.
        pattern: attentions of the stages, with "*" where that attention stands; all stages have it unless given.
        name: instead of the one made of the config's file and attention.
        products: the fields that are scored of networks, see `nowcast.products`.
        options: further options of the training, such as {model.network.init_args.width: 32}.
        seeds: instead of the benchmark's.
        budget: instead of the benchmark's.
    """

    baseline: str | list[str] | None = None
    checkpoint: str | None = None
    config: str | list[str] | None = None
    attention: Any = None
    pattern: list[Any] | None = None
    name: str | None = None
    products: list[Product] = field(default_factory=lambda: ["median"])
    options: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] | None = None
    budget: Budget | None = None


@dataclass(frozen=True)
class Plan:
    """A benchmark file without its data.

    Args:
        folder: of results.
        entries: what is compared.
        budget: of every training; one is needed where something is trained.
        training: options of every training, such as {trainer.precision: bf16-mixed}.
        seeds: of the trainings.
        every: forecasts start at every so many possible times.
        thresholds: mm/h of the events.
        neighbourhoods_km: in which events are pooled.
        scales_km: of the fractions skill score.
        members: of ensembles and quantiles, where an entry has a distribution.
        block_minutes: cases that start within so many minutes of one event are resampled together.
        reference: name of the entry that others are compared with; sprog, where it is an entry, unless given.
        showcase: cases whose frames the report shows.
    """

    folder: str
    entries: tuple[Entries, ...]  # of a list the parser would mix each entry with the one before it in the same place
    budget: Budget | None = None
    training: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [1])
    every: int = 1
    thresholds: list[float] = field(default_factory=lambda: [0.1, 1.0, 5.0, 10.0, 20.0])
    neighbourhoods_km: list[float] = field(default_factory=lambda: [4.0, 16.0])
    scales_km: list[float] = field(default_factory=lambda: [1.0, 5.0, 15.0, 45.0])
    members: int = 10
    block_minutes: float = 60.0
    reference: str | None = None
    showcase: int = 2


Kind = Literal["baseline", "checkpoint", "network"]


@dataclass(frozen=True)
class Entry:
    """One forecaster of a benchmark, trained once for each seed.

    Args:
        name: in all tables.
        kind: baseline, checkpoint, or network that has yet to be trained.
        source: name of the baseline, path of the checkpoint, or path of the training config.
        product: which field is scored.
        seeds: of its trainings; one 0 where there is none.
        options: of its training, as words of a command line.
        training: a name that entries share which are products of the same training.
    """

    name: str
    kind: Kind
    source: str
    product: Product = "median"
    seeds: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()
    training: str = ""

    @property
    def key(self) -> str:
        """The name as that of a folder."""
        return folder_name(self.name)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def expand(plan: Plan) -> list[Entry]:
    """The single entries of a plan, in its order.

    Raises:
        InputError: for an entry that is nothing or two things at once, an unknown name, a missing file, or two entries
            of the same name.
    """
    entries = [entry for one in plan.entries for entry in _expand(one, plan)]
    if not entries:
        raise InputError("the benchmark has no entries; name a baseline, a checkpoint or a config")
    keys = [entry.key for entry in entries]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"two entries of the benchmark are called {key}; give one of them another name")
    names = [entry.name for entry in entries]
    if plan.reference is not None and plan.reference not in names:
        raise InputError(f"the reference {plan.reference!r} is none of the entries, which are {', '.join(names)}")
    return entries


def _expand(one: Entries, plan: Plan) -> list[Entry]:
    given = [kind for kind in ("baseline", "checkpoint", "config") if getattr(one, kind)]
    if len(given) != 1:
        raise InputError(f"an entry is a baseline, a checkpoint or a config, not {' and '.join(given) or 'nothing'}")
    wrong = [product for product in one.products if product not in get_args(Product)]
    if wrong or not one.products:
        raise InputError(f"products are some of {', '.join(get_args(Product))}, not {one.products}")
    if one.baseline:
        for name in as_list(one.baseline):
            baselines.CATALOGUE.member(name)  # speaks up where there is none
        return [Entry(name, "baseline", name) for name in as_list(one.baseline)]
    if one.checkpoint:
        if not Path(one.checkpoint).exists():
            raise InputError(f"checkpoint {one.checkpoint} of an entry does not exist")
        name = one.name or Path(one.checkpoint).name
        return _products(Entry(name, "checkpoint", one.checkpoint), one.products)
    if one.pattern is not None and (HERE not in one.pattern or one.attention is None):
        raise InputError(f"a pattern of stages has {HERE!r} where the entry's attention stands, not {one.pattern}")
    pairs = itertools.product(as_list(one.config), attentions(one.attention))
    return [entry for config, gate in pairs for entry in _products(_network(one, config, gate, plan), one.products)]


def _network(one: Entries, config: str, gate: Any, plan: Plan) -> Entry:
    if not Path(config).is_file():
        raise InputError(f"training config {config} of an entry does not exist")
    name = one.name or Path(config).stem
    options = {**plan.training, **one.options}
    if one.attention is not None:
        stages = one.pattern and [gate if stage == HERE else stage for stage in one.pattern]
        options["model.network.init_args.attention"] = stages or gate
        name += f" · {label(gate)}"
    words = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]
    budget = one.budget or plan.budget
    if budget is None:
        raise InputError(f"{name} is to be trained, but there is no budget; give steps or minutes")
    return Entry(name, "network", config, seeds=tuple(one.seeds or plan.seeds), options=(*words, *budget.options()))


def _products(entry: Entry, products: Sequence[Product]) -> list[Entry]:
    several = len(products) > 1
    return [
        replace(entry, name=f"{entry.name} ({product})" if several else entry.name, product=product, training=entry.key)
        for product in products
    ]


def attentions(given: Any) -> list[Any]:
    """The attentions of a grid. Raises InputError for one that does not exist."""
    if given is None:
        return [None]
    if given == ALL:
        return [name for name in attention.names() if attention.info(name).shape == "BCHW"]
    gates = given if isinstance(given, list) else [given]
    for gate in gates:
        if gate is not None:
            attention.create(gate, 16)
    return gates


def label(gate: Any) -> str:
    """An attention as a name people read."""
    if gate is None:
        return "none"
    if isinstance(gate, Mapping):
        options = ", ".join(f"{key} {value}" for key, value in gate.items() if key != "name")
        return f"{gate['name']} {options}".strip()
    return " + ".join(label(part) for part in gate) if isinstance(gate, list) else str(gate)


def as_list(given: Any) -> list[Any]:
    """One thing or several, as several."""
    return list(given) if isinstance(given, list | tuple) else [given]


def folder_name(name: str) -> str:
    """A name with nothing but letters, digits, dots and dashes, as a folder may be called."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.").lower() or "entry"
