"""A network as a file that needs no class: `python -m nowcast.export --checkpoint RUN --output model.pt2`."""

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import nowcast
from nowcast import scaling
from nowcast.contracts import InputError
from nowcast.exported import ENDINGS, METADATA, Exported, output_as, package
from nowcast.lessons import whole
from nowcast.models._output import output_of
from nowcast.program import run
from nowcast.trained import Trained

EXAMPLE = (2, 128, 192)  # B, H, W that a graph is traced with
OTHER = (3, 83, 101)  # that it must do for as well
LARGE = (1, 480, 512)  # likewise; here sums of many numbers lose digits where they are not made with care
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of pixels, to which networks extend fields
CLOSE = 1e-4  # scaled, 0.003 dBZ


def main(
    checkpoint: str,
    output: Path,
    format: Literal["torch-export", "onnx"] | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Export a trained network, compare what it forecasts with the checkpoint, and keep it only where they agree.

    Args:
        checkpoint: best.ckpt of a run, or the run folder.
        output: ending in .pt2 (torch.export) or .onnx.
        format: torch-export or onnx; by the ending unless given.
        size: H W in pixels of the only fields it shall forecast, for networks that cannot be exported for any.
    """
    told = ENDINGS.get(output.suffix)
    if told is None or format not in (None, told):
        raise InputError(f"{output} must end in .pt2 for --format torch-export or .onnx for --format onnx")
    if size is not None and min(size) < 1:
        raise InputError(f"--size is of fields of at least 1 × 1 pixels, not {size[0]} × {size[1]}")
    trained = Trained.load(checkpoint)
    shape, off = export(trained, output, size)
    names = ("samples", "frames", "channels", "rows", "columns")
    fixed = [f"{name} {length}" for name, length in zip(names, shape, strict=True) if length != -1]
    print(f"{output}: {trained.name}, {told}, fixed {', '.join(fixed)}; differs by {off:.1g} dBZ at most")


def export(trained: Trained, output: Path, size: tuple[int, int] | None = None) -> tuple[list[int], float]:
    """Write the file, once it forecasts what the network does.

    Returns:
        The shape of its input, −1 where it takes any, and by how many dBZ it differed at most.

    Raises:
        InputError: naming why, when the network cannot be exported or the file forecasts something else.
    """
    network = trained.network.cpu().eval()
    if (meaning := output_of(network)) is not None and meaning.drawn:
        raise InputError(f"{trained.name} draws noise, and an export would draw other than the network does")
    with tempfile.TemporaryDirectory(dir=_folder(output)) as folder, _quiet():
        part, problems = Path(folder) / output.name, []
        for wildcards in [(0, 3, 4), (3, 4)] if size is None else [()]:
            try:
                program, shape = _trace(trained, wildcards, size)
                facts = {**metadata(trained, shape), "multiple": _multiple(trained, program, shape)}
                _save(program, part, json.dumps(facts))
                off = difference(trained, Exported.open(part), shape)
            except InputError as error:
                problems.append(str(error))
                continue
            except Exception as error:  # a tracer raises anything
                problems.append(_why(error))
                continue
            os.replace(part, output)
            return shape, off
    way_out = "; with --size H W it may be exported for one size" if size is None else ""
    raise InputError(f"{trained.name} cannot be exported{way_out} ({problems[-1]})")


def difference(trained: Trained, exported: Exported, shape: list[int]) -> float:
    """By how many dBZ an exported network differs at most from the one it was made of.

    Both see noise, and rain with holes where nothing was observed, in another size than the export was made with too.

    Raises:
        InputError: when it is more than rounding.
    """
    most = 0.0
    generator = torch.Generator().manual_seed(1)
    for batch, height, width in (EXAMPLE, OTHER, LARGE):
        lengths = (batch, trained.past_frames, shape[2], *_free(shape, height, width))
        noise = torch.rand(lengths, generator=generator) * 1.5
        rain = (torch.randn(lengths, generator=generator) * 2).exp() - 1
        rain[..., : lengths[-2] // 3, : lengths[-1] // 4] = torch.nan
        rain[rain.clone() < 0] = 0
        with torch.no_grad():
            fields = [whole(one.network, noise).float() for one in (trained, exported)]
        rates = [one.forecast(rain, trained.steps) for one in (trained, exported)]
        if not torch.equal(*(rate.isnan() for rate in rates)):
            raise InputError(f"the export of {trained.name} does not leave unobserved pixels as the network does")
        pairs = [fields, [scaling.scale(rate)[0] for rate in rates]]
        for one, other in pairs:
            off = float((one - other).abs().max())
            if not off <= CLOSE * max(1.0, float(one.abs().max())):
                raise InputError(
                    f"the export of {trained.name} forecasts otherwise than the network: it differs by up to "
                    f"{off * scaling.DBZ_PER_UNIT:.2g} dBZ on {height} × {width} pixels"
                )
            most = max(most, off * scaling.DBZ_PER_UNIT)
    return most


class _Whole(nn.Module):
    """A network with the margin that it needs around its fields."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return whole(self.network, past)


def _trace(
    trained: Trained, wildcards: tuple[int, ...], size: tuple[int, int] | None
) -> tuple[torch.export.ExportedProgram, list[int]]:
    """The graph for inputs some of whose dimensions may have any length, and its shape as in `export`."""
    batch, height, width = EXAMPLE
    channels = int(trained.config["network"].get("init_args", {}).get("channels", 1))
    example = torch.rand(batch if 0 in wildcards else 1, trained.past_frames, channels, *(size or (height, width)))
    dynamic = (dict.fromkeys(wildcards, torch.export.Dim.AUTO),) if wildcards else None
    with torch.no_grad():
        program = torch.export.export(_Whole(trained.network), (example,), dynamic_shapes=dynamic)
    inputs = program.graph_signature.user_inputs
    (traced,) = [node.meta["val"].shape for node in program.graph.nodes if node.name in inputs]
    shape = [length if isinstance(length, int) else -1 for length in traced]
    if any(shape[axis] != -1 for axis in wildcards):
        raise InputError(f"its graph holds for inputs of {' × '.join(map(str, traced))} only")
    return program, shape


def _multiple(trained: Trained, program: torch.export.ExportedProgram, shape: list[int]) -> int:
    """The least multiple to which fields must be extended for a graph, which is traced without what does it inside."""
    problem: Exception = InputError("it holds for one size only")
    for multiple in MULTIPLES:
        try:
            difference(
                trained, Exported.of(program.module(), {**metadata(trained, shape), "multiple": multiple}), shape
            )
            return multiple
        except (AssertionError, InputError, RuntimeError) as error:
            problem = error
    raise problem


def _save(program: torch.export.ExportedProgram, path: Path, facts: str) -> None:
    if path.suffix == ".pt2":
        program.example_inputs = None  # the only part of such a file that is pickled
        torch.export.save(program, path, extra_files={METADATA: facts})
        return
    for name in ("onnx", "onnxscript"):
        package(name)
    program = program.run_decompositions(NORMS)
    made = torch.onnx.export(program, dynamo=True, verbose=False)
    assert made is not None
    made.model.metadata_props[METADATA] = facts
    made.save(path, external_data=False)


def _normed(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,  # graphs leave out what is PyTorch's default
    *_: Any,
) -> torch.Tensor:
    """Group norm by means along one axis after the other.

    onnxruntime has it sum all numbers of a group in one float32, which is wrong in the fourth digit on large fields.
    """
    parts = x.unflatten(1, (groups, x.shape[1] // groups))
    off = parts - _mean(parts)
    x = (off * (_mean(off * off) + eps).rsqrt()).flatten(1, 2)
    x = x if weight is None else x * weight[:, None, None]
    return x if bias is None else x + bias[:, None, None]


def _normed_natively(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, n: int, c: int, hw: int, g: int, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same for the operation beneath, whose mean and scale only training needs."""
    return _normed(x, g, weight, bias, eps), x.new_zeros(n, g), x.new_zeros(n, g)


def _mean(parts: torch.Tensor) -> torch.Tensor:
    return parts.mean(-1, keepdim=True).mean(-2, keepdim=True).mean(-3, keepdim=True)


NORMS = {
    torch.ops.aten.group_norm.default: _normed,
    torch.ops.aten.native_group_norm.default: _normed_natively,
}


def metadata(trained: Trained, shape: list[int]) -> dict[str, Any]:
    """What `Exported` must know beside the graph."""
    return {
        "nowcast_version": nowcast.__version__,
        "scaling": scaling.NAME,
        "facts": trained.facts,
        "config": trained.config,
        "digest": trained.digest,
        "parameters": trained.parameters,
        "output": output_as(output_of(trained.network)),
        "shape": shape,
    }


def _free(shape: list[int], height: int, width: int) -> tuple[int, int]:
    return (height if shape[3] == -1 else shape[3]), (width if shape[4] == -1 else shape[4])


def _folder(output: Path) -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    return output.parent


def _why(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = (lines or ["it does not say why"])[0][:300]
    if line.startswith("Guard failed: "):
        return f"its graph holds for inputs of {line.removeprefix('Guard failed: ')} only"
    return f"{type(error).__name__}: {line}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what tracers say to those who develop them."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


if __name__ == "__main__":
    run(main)
