"""How every program of nowcast starts and ends: a typed command line, short messages, honest exit codes.

Exit code 0 is success, 2 a mistake in what the user gave (one line says what and what would be right), 1 a failure of
ours (with the trace that a bug report needs).
"""

import difflib
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from nowcast.allocator import keep_freed_memory
from nowcast.contracts import InputError
from nowcast.quiet import calm


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
    keep_freed_memory()
    spec = sys.modules[function.__module__].__spec__  # of the file run by python -m, whose module is called __main__
    parser = Parser(
        prog=f"python -m {spec.name}" if spec else None,
        description=(inspect.getdoc(function) or "").split("\n\n")[0],
    )
    parser.add_function_arguments(function, as_group=False)
    with honest_exit():
        words = with_underscores(sys.argv[1:] if arguments is None else arguments)
        words = with_flags(words, [f"--{name}" for name, hint in get_type_hints(function).items() if hint is bool])
        config = parser.parse_args(as_lists(words, list_options(function)))
        function(**parser.instantiate(config).as_dict())


def list_options(function: Callable[..., Any]) -> list[str]:
    """The options of a function that take several values."""

    def takes_several(hint: Any) -> bool:
        return get_origin(hint) in (list, tuple, Sequence) or any(map(takes_several, get_args(hint)))

    return [f"--{name}" for name, hint in get_type_hints(function).items() if takes_several(hint)]


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """`--on-error skip` as `--on_error skip`, the way options are named here."""

    def renamed(word: str) -> str:
        option, equals, value = word.partition("=")
        return f"--{option[2:].replace('-', '_')}{equals}{value}" if option.startswith("--") else word

    return [renamed(word) for word in arguments]


def with_flags(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """`--overwrite` as `--overwrite true`, the way the parser reads a switch; a value that is given stays.

    Args:
        arguments: the words of a command line.
        flags: options that are true or false, such as "--overwrite".
    """
    following = [*arguments, "--"][1:]
    pairs = zip(arguments, following, strict=True)
    words = [[word, "true"] if word in flags and after.startswith("--") else [word] for word, after in pairs]
    return [word for both in words for word in both]


def as_lists(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """`--forecast a.nc b.nc` as `--forecast ["a.nc", "b.nc"]`, the way the parser reads a list.

    Args:
        arguments: the words of a command line.
        options: those that take several values, such as "--forecast".
    """
    words: list[str | list[str]] = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if len(option) > 2 and any(name.startswith(option) for name in options):  # options may be abbreviated
            words += [option, [value] if value else []]
        elif words and isinstance(words[-1], list) and not argument.startswith("--"):
            words[-1].append(argument)
        else:
            words.append(argument)
    return [word if isinstance(word, str) else _as_list(word) for word in words]


def _as_list(values: list[str]) -> str:
    return values[0] if len(values) == 1 and values[0].startswith("[") else json.dumps(values)


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
        print(
            "error: this is a failure of nowcast, not of your input; the lines above say where",
            file=sys.stderr,
        )
        sys.exit(1)


def fail(message: str) -> NoReturn:
    """Print one error line and exit as for a user's mistake."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def known_keys(parser: Any) -> set[str]:
    """The option names a parser knows, without dashes."""
    return {action.dest for action in parser._actions if action.dest and action.dest != "help"}


def gist(message: str, keys: Sequence[str]) -> str:
    """The part of jsonargparse's message that tells a user what to change, with the nearest known key.

    Args:
        message: as jsonargparse words it.
        keys: all that the parser knows, such as "data.crops.size".
    """
    text = " ".join(str(message).split())
    unknown = re.search(r"[Uu]nrecognized arguments: -*([\w.+]+)", text)
    group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
    key = re.search(r"(?:[Kk]ey|[Oo]ption) ['\"]([\w.]+)['\"] is not (?:expected|accepted)", text)
    if named := group or unknown or key:
        wrong = ".".join(named.groups())
        near = difflib.get_close_matches(wrong, keys, n=2, cutoff=0.6)
        return f"no option is called {wrong!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    text = re.sub(r'Parser key "([^"]*)":', r"\1:", text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("NoneType", "null").replace("typing.", "")
    union = re.search(r"^(.*?): Does not validate.*Subtypes: \[(.*?)\] Errors:.*Given value: (.*)$", text)
    if union:
        text = f"{union.group(1)}: expected one of {union.group(2)}; got {union.group(3)}"
    return text if len(text) <= 400 else text[:400] + " …"
