"""Time and memory of every attention mechanism against the number of pixels: table, CSV and log–log plot.

    python scripts/benchmark_attention.py                                  all, 16² to 128²
    python scripts/benchmark_attention.py --names '[se, criss_cross]' --sizes '[16, 32]' --repeats 3

What is measured, in float32 with default options: the fastest of `repeats` forward and backward passes in
training mode, after one that is not counted; and the peak of bytes allocated during one such pass above what
was there before (weights and input): outputs, activations kept for the backward pass, gradients and
temporaries. On a CPU these are the allocations PyTorch's profiler records (a library's private scratch space
is not among them), on CUDA those of torch.cuda.max_memory_allocated.

The growth exponent is the slope of the logarithm against that of the pixels, over the three largest sizes
measured: 1 is linear in N = H·W, 1.5 like N(H+W), 2 quadratic. Where overhead outweighs arithmetic the slope
of time lies lower. Mechanisms with a textbook twin in naive_attention.py are compared with it, weights and
input being the same.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # before torch is loaded: the profiler talks on every start

import matplotlib
import torch
from _measure import draw_slopes, growth, label_sizes, seconds, write_csv
from naive_attention import TWINS
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from nowcast import attention
from nowcast.program import run

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FRAMES = 4  # of mechanisms that take sequences
LINES_PER_PANEL = 7  # more cannot be told apart
HEADING = ("name", "kind", "family", "parameters_at_64", "pixels", "seconds", "peak_bytes")


@dataclass(frozen=True)
class Measurement:
    """One forward and backward pass of one mechanism at one size."""

    name: str
    kind: str  # "module", or "naive" for its textbook twin
    pixels: int
    seconds: float
    peak_bytes: int


def main(
    names: list[str] | None = None,
    sizes: list[int] | None = None,
    repeats: int = 3,
    channels: int = 64,
    batch: int = 1,
    threads: int = 1,
    device: str = "cpu",
    most_seconds: float = 30.0,
    most_gib: float = 6.0,
    out: Path = Path("attention_benchmark"),
) -> None:
    """Measure time and memory of attention mechanisms, fit their growth, write a CSV and a plot.

    Args:
        names: of mechanisms; all by default.
        sizes: of square maps; 16, 32, 64 and 128 by default.
        repeats: passes of which the fastest counts.
        channels: C.
        batch: B.
        threads: of PyTorch on a CPU.
        device: cpu, cuda or cuda:N.
        most_seconds: a pass that is foreseen to take longer is left out.
        most_gib: a pass that is foreseen to take more memory is left out.
        out: path of the results without suffix; .csv and .png are added.
    """
    torch.set_num_threads(threads)
    console = Console(width=None if sys.stdout.isatty() else 200)
    measurements: list[Measurement] = []
    for name in names or attention.names():
        torch.manual_seed(0)
        module = attention.create(name, channels).to(device).train()
        leading = (batch, FRAMES) if attention.card(name).shape.startswith("BTCHW") else (batch,)
        functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"module": module}
        if name in TWINS:
            functions["naive"] = partial(TWINS[name], module)
        for kind, function in functions.items():
            own: list[Measurement] = []
            for size in sorted(sizes or (16, 32, 64, 128)):
                seconds, peak = (foreseen(own, quantity, size**2) for quantity in ("seconds", "peak_bytes"))
                if seconds > most_seconds or peak > most_gib * 2**30:
                    console.print(f"{name} ({kind}): {size}² left out ({seconds:.0f} s, {peak:.1e} bytes foreseen)")
                    break
                x = torch.randn(*leading, channels, size, size, device=device, requires_grad=True)
                own.append(Measurement(name, kind, size**2, *measure(function, module, x, repeats)))
            console.print(f"{name} ({kind}): {', '.join(f'{m.seconds * 1e3:.3g} ms' for m in own)}")
            measurements.extend(own)
    write_csv(HEADING, rows(measurements), out.with_suffix(".csv"))
    plot(measurements, out.with_suffix(".png"))
    console.print(growth_table(measurements), twin_table(measurements))
    console.print(f"written: {out.with_suffix('.csv')} and {out.with_suffix('.png')}")


def measure(
    function: Callable[[torch.Tensor], torch.Tensor], module: nn.Module, x: torch.Tensor, repeats: int
) -> tuple[float, int]:
    """Seconds of the fastest pass, and peak bytes of one."""

    def one_pass() -> None:
        y = function(x)
        y.backward(torch.ones_like(y))
        x.grad = None
        module.zero_grad()

    one_pass()
    peak = peak_bytes(one_pass, x.device)
    return min(seconds(one_pass, x.device) for _ in range(repeats)), peak


def peak_bytes(work: Callable[[], None], device: torch.device) -> int:
    """The most bytes that work holds at any moment, above those held before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    changes = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        most = max(most, held)
    return most


def exponent(measurements: list[Measurement], quantity: str) -> float:
    """p of quantity ~ pixels^p over the three largest sizes."""
    return growth((m.pixels, getattr(m, quantity)) for m in measurements)


def foreseen(past: list[Measurement], quantity: str, pixels: int) -> float:
    """What a quantity will be with more pixels: growing as between the last two sizes, or as N² after one."""
    if not past:
        return 0.0
    growth = exponent(past[-2:], quantity) if len(past) > 1 else 2.0
    return getattr(past[-1], quantity) * (pixels / past[-1].pixels) ** max(growth, 1.0)


def grouped(measurements: list[Measurement], kind: str) -> Iterator[tuple[attention.Card, str, list[Measurement]]]:
    """Measurements of each mechanism, by family and name."""
    names = {m.name for m in measurements if m.kind == kind}
    for name in sorted(names, key=lambda name: (attention.card(name).family, name)):
        yield attention.card(name), name, [m for m in measurements if m.name == name and m.kind == kind]


def growth_table(measurements: list[Measurement]) -> Table:
    """Measured growth beside the stated cost, one row a mechanism."""
    table = Table(title="Growth with the pixels: N^p", title_justify="left", header_style="bold")
    for heading in ("name", "family", "stated time", "stated memory"):
        table.add_column(heading)
    for heading in ("p of time", "p of memory", "largest", "time", "peak memory", "parameters at C=64"):
        table.add_column(heading, justify="right")
    for card, name, own in grouped(measurements, "module"):
        largest = own[-1]
        table.add_row(
            name,
            card.family,
            card.time,
            card.memory,
            f"{exponent(own, 'seconds'):.2f}",
            f"{exponent(own, 'peak_bytes'):.2f}",
            f"{math.isqrt(largest.pixels)}²",
            f"{largest.seconds * 1e3:.3g} ms",
            f"{largest.peak_bytes / 2**20:.3g} MiB",
            f"{attention.info(name).parameters:,}",
        )
    return table


def twin_table(measurements: list[Measurement]) -> Table:
    """How many times more the textbook form takes, at the largest size that both were measured at."""
    table = Table(title="Textbook twin ÷ module", title_justify="left", header_style="bold")
    for heading in ("name", "at", "time", "peak memory"):
        table.add_column(heading, justify="left" if heading == "name" else "right")
    for _, name, naive in grouped(measurements, "naive"):
        twin = naive[-1]
        (own,) = (m for m in measurements if (m.name, m.kind, m.pixels) == (name, "module", twin.pixels))
        time_ratio, memory_ratio = twin.seconds / own.seconds, twin.peak_bytes / own.peak_bytes
        table.add_row(name, f"{math.isqrt(twin.pixels)}²", f"{time_ratio:.2f}", f"{memory_ratio:.2f}")
    return table


def rows(measurements: list[Measurement]) -> Iterator[tuple[object, ...]]:
    """Lines of the CSV, one a measurement."""
    for m in measurements:
        info = attention.info(m.name)
        yield m.name, m.kind, info.family, info.parameters, m.pixels, f"{m.seconds:.6g}", m.peak_bytes


def plot(measurements: list[Measurement], path: Path) -> None:
    """Time against pixels, both logarithmic: one or more panels a family, a line a mechanism."""
    families: dict[str, list[tuple[str, list[Measurement]]]] = {}
    for card, name, own in grouped(measurements, "module"):
        families.setdefault(card.family, []).append((name, own))
    panels = [
        (family, lines[start : start + LINES_PER_PANEL])
        for family, lines in families.items()
        for start in range(0, len(lines), LINES_PER_PANEL)
    ]
    columns = min(4, len(panels))
    lines_of_panels = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(
        lines_of_panels,
        columns,
        figsize=(4.2 * columns, 3.4 * lines_of_panels),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    pixels, times = {m.pixels for m in measurements}, [m.seconds * 1e3 for m in measurements]
    for axis, (family, lines) in zip(axes.flat, panels, strict=False):
        for (name, own), marker in zip(lines, "osD^vP*", strict=False):
            milliseconds = [m.seconds * 1e3 for m in own]
            axis.loglog([m.pixels for m in own], milliseconds, marker=marker, ms=4, lw=1.2, label=name)
        label_sizes(axis, pixels)
        axis.set_title(family, fontsize=10)
        axis.legend(fontsize=7, loc="upper left", framealpha=0.6)
        draw_slopes(axis, pixels, min(times))
    axes.flat[0].set_ylim(min(times) / 2, max(times) * 2)
    figure.supxlabel("pixels N = H·W; dotted: growth as N, dashed: as N²", fontsize=10)
    figure.supylabel("forward and backward pass, ms", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
