"""A network as a file that needs no class of it: torch.export (.pt2) or ONNX (.onnx), which forecasts as a checkpoint.

All else that a forecast needs, scaling, training data, meaning of the output, stands in the file as JSON. Nothing in a
file is executed (`nowcast.inert`); ONNX files are given to onnxruntime as bytes, with no file beside.
"""

import importlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from nowcast import inert, scaling
from nowcast.contracts import InputError
from nowcast.models._blocks import pad_to_multiple
from nowcast.models._output import BinOutput, Output, QuantileOutput
from nowcast.products import Product
from nowcast.trained import Trained

Call = Callable[[torch.Tensor], torch.Tensor]
ENDINGS = {".pt2": "torch-export", ".onnx": "onnx"}
METADATA = "nowcast.json"


def load(path: str | os.PathLike, device: str = "cpu", product: Product = "median") -> Trained:
    """Open a checkpoint, a run folder, or an export, which its ending tells.

    Args:
        path: of it.
        device: where the network will run.
        product: which field `forecast` gives, see `nowcast.products`.

    Raises:
        InputError: when there is none, or it is damaged or not of nowcast.
    """
    kind = Exported.open if Path(path).suffix in ENDINGS else Trained.load
    return kind(path, device, product)


class Exported(Trained):
    """A network from such a file, as a Forecaster."""

    format: str = ""
    parameters: int = 0

    def describe(self) -> dict[str, str]:
        """That of the checkpoint it was made from, and the format."""
        return {**super().describe(), "exported": self.format}

    @classmethod
    def open(cls, path: str | os.PathLike, device: str = "cpu", product: Product = "median") -> "Exported":
        """Open a file of `python -m nowcast.export`.

        Args:
            path: ends in .pt2 or .onnx.
            device: where the network will run; an ONNX file runs on the CPU.
            product: see `nowcast.products`.

        Raises:
            InputError: when the file is missing, damaged, or not of nowcast, or holds more than data.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"exported network {path} does not exist")
        call, text = (_open_onnx if path.suffix == ".onnx" else _open_torch)(path, device)
        try:
            facts = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path} is no network exported by nowcast: it does not say what it was trained on"
            ) from error
        if facts["scaling"] != scaling.NAME:
            raise InputError(f"{path} has another scaling ({facts['scaling']}) than this version's ({scaling.NAME})")
        made = cls.of(call, facts, product)
        made.format, made.parameters = ENDINGS[path.suffix], facts["parameters"]
        return made

    @classmethod
    def of(cls, call: Call, facts: dict[str, Any], product: Product = "median") -> "Exported":
        """A graph as a forecaster, with what stands beside it in the file."""
        network = ExportedNetwork(call, facts["shape"], facts["multiple"], output_from(facts["output"]))
        return cls(network, facts["facts"], facts["config"], facts["digest"], product)


class ExportedNetwork(nn.Module):
    """A graph as a network between scaled fields, sample by sample where it has a batch of one.

    Args:
        call: (B, T_in, C, H, W) → (B, steps, K, H, W), scaled.
        shape: of its input, −1 where it takes any.
        multiple: of which both sizes of a field are, for the graph; others are extended as networks do it themselves.
        output: what its fields mean.
    """

    def __init__(self, call: Call, shape: Sequence[int], multiple: int, output: Output | None) -> None:
        super().__init__()
        self.call, self.shape, self.multiple, self.output = call, tuple(shape), multiple, output

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        """(B, T_in, C, H, W) → (B, steps, K, H, W).

        Raises:
            InputError: for fields of another size than it was exported for.
        """
        if any(wanted not in (-1, given) for wanted, given in zip(self.shape[1:], past.shape[1:], strict=True)):
            height, width = self.shape[3:]
            raise InputError(
                f"this network was exported for fields of {height} × {width} pixels, not {past.shape[3]} × "
                f"{past.shape[4]}; forecast with its checkpoint, or export it with another --size"
            )
        height, width = past.shape[-2:]
        padded = pad_to_multiple(past.flatten(0, 1), self.multiple).unflatten(0, past.shape[:2])
        parts = [padded] if self.shape[0] == -1 else padded.split(1)
        return torch.cat([self.call(part) for part in parts])[..., :height, :width]


def output_as(output: Output | None) -> dict[str, Any] | None:
    """What the fields of a network mean, for JSON.

    Raises:
        InputError: for a meaning of one's own.
    """
    if output is None:
        return None
    if isinstance(output, QuantileOutput):
        return {"quantiles": list(output.levels)}
    if isinstance(output, BinOutput):
        return {"bins": list(output.edges)}
    raise InputError(f"an exported network has quantiles, bins or one forecast, not {type(output).__name__}")


def output_from(meaning: dict[str, Any] | None) -> Output | None:
    """The inverse of `output_as`."""
    if meaning is None:
        return None
    ((kind, numbers),) = meaning.items()
    return {"quantiles": QuantileOutput, "bins": BinOutput}[kind](numbers)


def package(name: str) -> ModuleType:
    """An optional package of the extra `export`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"ONNX needs the package {name}; pip install 'nowcast[export]' brings it") from error


def _open_torch(path: Path, device: str) -> tuple[Call, str]:
    try:
        extra = {METADATA: ""}
        program = inert.load(path, extra)
        if device != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        return program.module(), str(extra[METADATA])
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the library raise
        raise InputError(f"{path} cannot be read as an exported network, damaged or cut off? ({error})") from error


def _open_onnx(path: Path, device: str) -> tuple[Call, str]:
    runtime = package("onnxruntime")
    try:
        session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever a damaged file makes the library raise
        raise InputError(f"{path} cannot be read as ONNX, damaged or cut off? ({error})") from error
    name = session.get_inputs()[0].name

    def call(past: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: past.float().numpy()})[0])

    return call, session.get_modelmeta().custom_metadata_map.get(METADATA, "")
