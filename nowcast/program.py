"""How every program of nowcast starts and ends: a typed command line, short messages, honest exit codes.

Exit code 0 is success, 2 a mistake in what the user gave (one line says what and what would be right), 1 a failure of
ours (with the trace that a bug report needs).
"""

import difflib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from nowcast.contracts import InputError


class ShortErrors:
    """Mixin of an argument parser that says what is wrong in a line or two, without a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the gist of a parse error to stderr and exit with code 2."""
        fail(gist(message, sorted(known_keys(self))))


class Parser(ShortErrors, ArgumentParser):
    """The argument parser of programs whose options are the arguments of one function."""


def run(function: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """Call a function with its arguments from the command line; its docstring is the help text.

    Args:
        function: with type hints; a program's work.
        arguments: instead of the command line's.
    """
    calm()
    parser = Parser(prog=f"python -m {function.__module__}" if function.__module__ != "__main__" else None)
    parser.add_function_arguments(function, as_group=False)
    with honest_exit():
        config = parser.parse_args(arguments)
        function(**parser.instantiate_classes(config).as_dict())


@contextmanager
def honest_exit() -> Iterator[None]:
    """Turn exceptions into the exit codes of this module."""
    try:
        yield
    except InputError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        print("error: this is a failure of nowcast, not of your input; the lines above say where", file=sys.stderr)
        sys.exit(1)


def fail(message: str) -> NoReturn:
    """Print one error line and exit as for a user's mistake."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def calm() -> None:
    """Silence advertising, banners and warnings that a user can do nothing about."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "wandb"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for package in ("lightning", "torch", "wandb", "zarr", "pysteps"):
        warnings.filterwarnings("ignore", module=rf"{package}(\..*)?$")


def known_keys(parser: Any) -> set[str]:
    """The option names a parser knows, without dashes."""
    return {action.dest for action in parser._actions if action.dest and action.dest != "help"}


def gist(message: str, keys: Sequence[str]) -> str:
    """The part of jsonargparse's message that tells a user what to change, with the nearest known key."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    text = " ".join(lines)
    text = re.sub(r"\s+", " ", text)
    unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", text) or re.search(
        r"(?:Key|Option|key) ['\"]([\w.]+)['\"] is not (?:expected|accepted)", text
    )
    if unknown:
        wrong = unknown.group(1).lstrip("-").split("=")[0]
        near = difflib.get_close_matches(wrong, keys, n=2, cutoff=0.6)
        return f"no option is called {wrong!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    return text if len(text) <= 400 else text[:400] + " …"
