"""Loads torch.export files (.pt2) as plain data: whatever in one could execute code is refused before.

`torch.export.load` by itself (torch 2.13) unpickles example inputs and opaque constants, evaluates the texts of
symbolic sizes and of guards, looks up any function of torch by its name, and makes source code of the names in a graph.
Here a file may hold plain tensors and a graph whose operations are those of aten and of arithmetic, and whose texts,
other than those of sizes, call nothing.
"""

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nowcast.contracts import InputError

_OPERATIONS = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+(\.\w+)?|torch\._?sym_\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|math\.\w+|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|ge|gt|le|lt|eq|ne|and_|or_|getitem)"
)
_ARITHMETIC = re.compile(r"[\w\s+\-*/%(),<>=!&|~]*")  # no dots and no quotes, so nothing is looked up or imported
_FUNCTIONS = re.compile(r"([A-Za-z_]\w*)\s*\(")
_SYMBOL = re.compile(r"Symbol\('[a-z]+\d+'(, \w+=(True|False))*\)|L\['past'\]\.size\(\)\[\d\]|\d+\.\d+")
_ALLOWED = {"Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilToInt", "FloorToInt", "Max", "Min", "Abs", "Pow", "Add"}
_ALLOWED |= {"Mul", "Integer", "Rational", "Float", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "and", "or"}
_ALLOWED |= {"not", "max", "min"}
_SIZES = ("expr_str", "guards_code")  # where texts are evaluated
_CALLING = set("()\n\r;@=")
_OBJECTS = re.compile(r"data/(aotinductor/.*|constants/(?!tensor_)(?!.*_config\.json).*)")


def load(path: Path, extra: dict[str, str]) -> torch.export.ExportedProgram:
    """The program of a file.

    Args:
        path: of the file.
        extra: names of further texts in it, which are filled in.

    Raises:
        InputError: naming what in the file could execute code. Whatever a damaged file makes the library raise goes on.
    """
    kept = io.BytesIO()
    with zipfile.ZipFile(path) as file, zipfile.ZipFile(kept, "w") as copy:
        for name in file.namelist():
            copy.writestr(name, _checked(f"{path}: {name}", name.split("/", 1)[-1], file.read(name)))
    kept.seek(0)
    return torch.export.load(kept, extra_files=extra)


def _checked(where: str, place: str, content: bytes) -> bytes:
    """The content of a part of a file as it is loaded: graphs lose their notes on where they were made."""
    if _OBJECTS.fullmatch(place):
        raise InputError(f"{where} is an object, which could execute code; the file is not loaded")
    if place.endswith("_config.json") and any(part.get("use_pickle") for part in _mappings(json.loads(content))):
        raise InputError(f"{where} names pickled objects, which could execute code; the file is not loaded")
    if place.startswith("data/sample_inputs/") and content:
        try:
            torch.load(io.BytesIO(content), weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise InputError(f"{where} holds an object, which could execute code; the file is not loaded") from error
    if not place.startswith("models/"):
        return content
    graph = json.loads(content)
    for part in _mappings(graph):
        if "inputs" in part and "target" in part:
            part["metadata"] = {}
            if not _OPERATIONS.fullmatch(str(part["target"])):
                raise InputError(f"{where} calls {part['target']!r}, which is no arithmetic; the file is not loaded")
    for key, text in _texts(graph):
        if _CALLING & set(text) and not (key in _SIZES and _is_arithmetic(text)):
            raise InputError(f"{where} has the text {text[:80]!r}, which could execute code; the file is not loaded")
    return json.dumps(graph).encode()


def _mappings(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _mappings(inner)


def _texts(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text, those of keys too, with the key that it stands under."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, list):
        for inner in tree:
            yield from _texts(inner, key)
    elif isinstance(tree, dict):
        for name, inner in tree.items():
            yield "", name
            yield from _texts(inner, name)


def _is_arithmetic(text: str) -> bool:
    text = _SYMBOL.sub("size", text)
    return bool(_ARITHMETIC.fullmatch(text)) and "__" not in text and set(_FUNCTIONS.findall(text)) <= _ALLOWED
