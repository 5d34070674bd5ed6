"""Small-letter names of configs: "cbam" is the file cbam.py of one folder, and the one class that file exports."""

import difflib
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from nowcast.contracts import InputError


class Catalogue:
    """The modules of a package, by file name. Files that start with _ are helpers and have no name.

    Args:
        package: dotted path of the folder, such as "nowcast.attention".
        thing: what a member is called in messages, such as "attention".
    """

    def __init__(self, package: str, thing: str) -> None:
        self.package, self.thing = package, thing

    def names(self) -> list[str]:
        """All names, sorted."""
        path = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))

    def module(self, name: str) -> ModuleType:
        """The file behind a name. Raises InputError with the nearest names when there is none."""
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(names)}"
            raise InputError(f"no {self.thing} is called {name!r}{hint}")
        return importlib.import_module(f"{self.package}.{name}")

    def member(self, name: str) -> type:
        """The class that the file of this name exports as the single entry of its __all__."""
        module = self.module(name)
        (exported,) = module.__all__
        return getattr(module, exported)

    def create(self, name: str, *args: Any, **options: Any) -> Any:
        """Build the named thing. Raises InputError naming an option it does not have."""
        member = self.member(name)
        allowed = list(inspect.signature(member).parameters)[len(args) :]
        for option in options:
            if option not in allowed:
                has = ", ".join(allowed) or "none"
                raise InputError(f"{self.thing} {name} has no option {option!r}; its options are: {has}")
        return member(*args, **options)
