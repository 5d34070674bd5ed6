"""What every configured network costs: training step, latency and memory of a forecast, share of this machine's peak.

    python scripts/benchmark_models.py                                     all of configs/model, some minutes
    python scripts/benchmark_models.py --names convlstm metnet --bf16
    python scripts/benchmark_models.py --names simvp --again               measured before, and changed since
    python scripts/benchmark_models.py --device cuda --bf16 --compile --batch 64

Each measurement runs in a process of its own, with a limit on time and on memory; one that breaks a limit is reported
as such. Lines that the CSV has already are not measured again. Times are medians of `repeats` passes after one that is
not counted, on random numbers, which cost what rain does.

Forecast: the network alone, in eval mode, of one window. Its peak memory is how far the first pass of that size lifts
the high-water mark of the process's resident memory, or of the GPU's, after a small one has loaded the libraries:
activations, temporaries and the scratch space of libraries, without weights.

Training step: forecast, loss of the config, backward pass and AdamW, of `batch` windows; compiled or not, as
`nowcast.train` does it. Forecasts are never compiled.

FLOPs are those of matrix products, convolutions and fused attention, two a multiplication with addition, as
torch.utils.flop_counter finds them in the pass. Norms, gates, pooling, interpolation and grid_sample (advection,
optical flow, TrajGRU) are not counted, so a network made of those has a small share of the peak. Those of a training
step are three times those of its forward pass. The peak is the faster of a matrix product and a 3×3 convolution,
measured in the same run, precision and number of threads.

The growth exponent is the slope of the logarithm of latency against that of the pixels: 1 is linear in N = H·W.
"""

import csv
import math
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Literal

import matplotlib
import torch
import yaml
from _measure import draw_slopes, growth, label_sizes, seconds, write_csv
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from nowcast import training
from nowcast.contracts import InputError
from nowcast.program import run

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CONFIGS = Path(__file__).parents[1] / "configs" / "model"
PAST_FRAMES, STEPS = 4, 12
LARGEST_TRAINED = 256  # size of the maps
LIBRARIES = 32  # size of a first forecast
UNIT_OF_RSS = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
PEAKS = ("matmul", "convolution")
# Sides of matrices, and maps × channels, that keep a device busy.
MATRIX, MAPS = {"cpu": 1024, "cuda": 8192}, {"cpu": (4, 64), "cuda": (64, 256)}


@dataclass(frozen=True)
class Measurement:
    """What one pass of one network costs at one size; nothing but the problem where there was one."""

    name: str
    task: str  # "forecast", "training" or, of the machine, "peak"
    precision: str  # "float32" or "bfloat16"
    size: int
    batch: int
    threads: int
    device: str  # "cpu" or "cuda"
    mode: str  # "eager" or "compiled"
    parameters: int = 0
    seconds: float = math.nan
    flops: int = 0
    peak_bytes: int = 0
    problem: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """What was measured."""
        return self.name, self.task, self.precision, self.size, self.batch, self.threads, self.device, self.mode

    @property
    def rate(self) -> float:
        """Counted FLOPs a second."""
        return self.flops / self.seconds


@dataclass(frozen=True)
class Limits:
    """How often to measure and where to stop."""

    repeats: int
    seconds: float
    gib: float


def main(
    names: list[str] | None = None,
    sizes: list[int] | None = None,
    batch: int = 4,
    bf16: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    compile: bool = False,
    threads: int = 1,
    repeats: int = 3,
    most_seconds: float = 60.0,
    most_gib: float = 8.0,
    again: bool = False,
    out: Path = Path("benchmark_models"),
) -> None:
    """Measure what training and forecasting with each network cost, write a CSV and a plot.

    Args:
        names: of files in configs/model; all by default.
        sizes: of square maps; 128, 256 and 512 by default. Training is measured up to 256.
        batch: windows of a training step.
        bf16: whether under autocast to bfloat16, as trainers do with precision bf16-mixed.
        device: which computes.
        compile: whether training steps are compiled, as with model.compile.
        threads: of PyTorch.
        repeats: passes of which the median counts.
        most_seconds: a measurement that takes longer is stopped.
        most_gib: a measurement that needs more memory is stopped.
        again: whether to measure what the CSV has already.
        out: path of the results without suffix; .csv and .png are added.
    """
    names, sizes = names or sorted(path.stem for path in CONFIGS.glob("*.yaml")), sorted(sizes or (128, 256, 512))
    configs = {name: model_config(name) for name in names}
    table, limits = out.with_suffix(".csv"), Limits(repeats, most_seconds, most_gib)
    console = Console(width=None if sys.stdout.isatty() else 200)
    of_run = partial(Measurement, precision="bfloat16" if bf16 else "float32", threads=threads, device=device)
    wanted = [of_run(name, "peak", size=0, batch=0, mode="eager") for name in PEAKS]
    trained, mode = [size for size in sizes if size <= LARGEST_TRAINED], "compiled" if compile else "eager"
    for name in names:
        wanted += [of_run(name, "forecast", size=size, batch=1, mode="eager") for size in sizes]
        wanted += [of_run(name, "training", size=size, batch=batch, mode=mode) for size in trained]
    known = {m.key: m for m in read(table)}
    for blank in wanted:
        if again or blank.key not in known:
            known[blank.key] = m = apart(cost, blank, configs.get(blank.name), limits)
            said = m.problem or f"{m.seconds * 1e3:.4g} ms, {m.rate / 1e9:.3g} GFLOP/s"
            console.print(f"{m.name}, {m.task}" + (f" at {m.size}²: " if m.size else ": ") + said)
            write_csv([field.name for field in fields(Measurement)], map(astuple, known.values()), table)
    measured = [known[blank.key] for blank in wanted]
    plot(measured, out.with_suffix(".png"))
    console.print(cost_table(measured, sizes))
    console.print(f"written: {table} and {out.with_suffix('.png')}")


def model_config(name: str) -> dict[str, Any]:
    """The model section of a file in configs/model, with the lengths that data would give it.

    Raises:
        InputError: where there is no such file.
    """
    path = CONFIGS / f"{name}.yaml"
    if not path.exists():
        there = ", ".join(sorted(other.stem for other in CONFIGS.glob("*.yaml")))
        raise InputError(f"{path} does not exist; configs/model has {there}")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    config["network"].setdefault("init_args", {}).update(past_frames=PAST_FRAMES, steps=STEPS)
    return config


def apart(work: Callable[..., Measurement], blank: Measurement, config: Any, limits: Limits) -> Measurement:
    """What some work returns in a process of its own, or the blank with the problem that it had."""
    context = multiprocessing.get_context("fork")  # nothing has been computed here that a child could inherit
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(work, blank, config, limits, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limits.seconds):
            return replace(blank, problem=f"over {limits.seconds:g} s")
        answered: Measurement = receiver.recv()
        return answered
    except EOFError:  # it was killed, as by a system out of memory
        return replace(blank, problem="ended without an answer")
    finally:
        process.kill()
        process.join()


def answer(
    work: Callable[..., Measurement], blank: Measurement, config: Any, limits: Limits, sender: Connection
) -> None:
    """Send what the work returns, or the blank with what stopped it."""
    most = int(limits.gib * 2**30)
    try:
        if blank.device == "cpu":
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        else:
            torch.cuda.set_per_process_memory_fraction(min(most / torch.cuda.mem_get_info()[1], 1.0))
        sender.send(work(blank, config, limits.repeats))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        short = isinstance(error, MemoryError) or "alloc" in first or "could not create" in first
        sender.send(replace(blank, problem=f"over {limits.gib:g} GiB" if short else first[:80]))


def cost(blank: Measurement, config: Any, repeats: int) -> Measurement:
    """The measurement that a blank stands for."""
    torch.set_num_threads(blank.threads)
    torch.manual_seed(0)
    if blank.task == "peak":
        return peak(blank)
    task = training.build({**config, "compile": blank.mode == "compiled"}).to(blank.device)
    blank = replace(blank, parameters=sum(weight.numel() for weight in task.network.parameters()))
    measure = forecast if blank.task == "forecast" else training_step
    return measure(blank, task, repeats)


def peak(blank: Measurement) -> Measurement:
    """The fastest of 20 products of two large matrices, or of 3×3 convolutions of many channels of maps of 128²."""
    where: dict[str, Any] = {"dtype": getattr(torch, blank.precision), "device": blank.device}
    if blank.name == "matmul":
        one, other = torch.randn(2, *[MATRIX[blank.device]] * 2, **where)
        work: Callable[[], torch.Tensor] = partial(torch.matmul, one, other)
    else:
        maps, channels = MAPS[blank.device]
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1, **where).to(memory_format=torch.channels_last)
        work = partial(layer, torch.randn(maps, channels, 128, 128, **where).to(memory_format=torch.channels_last))
    with torch.no_grad():
        work()
        times = [seconds(work, torch.device(blank.device)) for _ in range(20)]
        return replace(blank, seconds=min(times), flops=count_flops(work))


def forecast(blank: Measurement, task: training.NowcastTask, repeats: int) -> Measurement:
    """Latency, FLOPs and memory of a forecast."""
    network = task.network.eval().requires_grad_(False)
    work = partial(network, torch.rand(blank.batch, PAST_FRAMES, 1, blank.size, blank.size, device=blank.device))
    with torch.no_grad(), autocast(blank):
        network(torch.rand(blank.batch, PAST_FRAMES, 1, LIBRARIES, LIBRARIES, device=blank.device))
        before = most_held(blank.device)
        work()
        held = most_held(blank.device) - before
        time = median(seconds(work, torch.device(blank.device)) for _ in range(repeats))
        return replace(blank, seconds=time, flops=count_flops(work), peak_bytes=held)


def training_step(blank: Measurement, task: training.NowcastTask, repeats: int) -> Measurement:
    """Time and FLOPs of a training step."""
    optimiser = torch.optim.AdamW(task.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay)
    frames = torch.rand(blank.batch, PAST_FRAMES + STEPS, 1, blank.size, blank.size, device=blank.device)
    past, future = frames.split([PAST_FRAMES, STEPS], dim=1)

    def forward(step: Callable[..., torch.Tensor]) -> torch.Tensor:
        with autocast(blank):
            return step(task.network, task.loss, past, future, 0.5)

    def work() -> None:
        loss = forward(task.taught)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    work()
    time = median(seconds(work, torch.device(blank.device)) for _ in range(repeats))
    return replace(blank, seconds=time, flops=3 * count_flops(partial(forward, training.taught)))


def autocast(blank: Measurement) -> torch.autocast:
    """What a trainer's precision does: nothing for float32."""
    return torch.autocast(blank.device, torch.bfloat16, enabled=blank.precision == "bfloat16")


def most_held(device: str) -> int:
    """The most bytes that this process has had in memory, or on its GPU, so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT_OF_RSS


def count_flops(work: Callable[[], object]) -> int:
    """FLOPs of those operations that PyTorch counts."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def read(path: Path) -> Iterator[Measurement]:
    """Measurements of an earlier run, if there was one."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if set(row) != {field.name for field in fields(Measurement)}:
                raise InputError(f"{path} has other columns than are measured now; remove it, or name another --out")
            yield Measurement(**{field.name: field.type(row[field.name]) for field in fields(Measurement)})  # type: ignore[operator]


def cost_table(measured: list[Measurement], sizes: list[int]) -> Table:
    """A row a network: training, latency, memory, FLOPs, share of the peak, growth."""
    peaks = rates_of_machine(measured)
    machine = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in peaks.items())
    first = measured[0]
    title = f"{first.precision}, {first.device}, threads: {first.threads}, peak: {machine}"
    table = Table(title=title, title_justify="left")
    table.add_column("network")
    trained = [size for size in sizes if size <= LARGEST_TRAINED]
    for heading, columns in (("step, ms", trained), ("share", trained), ("latency, ms", sizes), ("share", sizes)):
        for size in columns:
            table.add_column(f"{heading}\n{size}²", justify="right")
    for heading in (f"memory, MiB\n{sizes[-1]}²", f"GFLOP\n{sizes[-1]}²", "p of\nlatency", "parameters"):
        table.add_column(heading, justify="right")
    for name, own in by_network(measured):
        cells = [name]
        for task in ("training", "forecast"):
            of_task = [m for m in own if m.task == task]
            cells += [m.problem or f"{m.seconds * 1e3:.0f}" for m in of_task]
            cells += ["" if m.problem else f"{m.rate / max(peaks.values()):.0%}" for m in of_task]
        largest = of_task[-1]
        cells += ["", ""] if largest.problem else [f"{largest.peak_bytes / 2**20:.0f}", f"{largest.flops / 1e9:.1f}"]
        p = growth((m.size**2, m.seconds) for m in of_task if not m.problem)
        table.add_row(*cells, f"{p:.2f}", f"{max(m.parameters for m in own):,}")
    return table


def rates_of_machine(measured: list[Measurement]) -> dict[str, float]:
    """FLOPs a second of each kind of work that this machine is fastest at."""
    return {m.name: m.rate for m in measured if m.task == "peak"}


def by_network(measured: list[Measurement]) -> Iterator[tuple[str, list[Measurement]]]:
    """Measurements of each network."""
    for name in dict.fromkeys(m.name for m in measured if m.task != "peak"):
        yield name, [m for m in measured if m.name == name]


def plot(measured: list[Measurement], path: Path) -> None:
    """Latency of a forecast against pixels, and share of the peak, a line a network."""
    figure, (latency, share) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    highest = max(rates_of_machine(measured).values())
    good = [m for m in measured if m.task == "forecast" and not m.problem]
    for (name, own), marker in zip(by_network(good), cycle("osD^vP*X<>"), strict=False):
        pixels = [m.size**2 for m in own]
        latency.loglog(pixels, [m.seconds * 1e3 for m in own], marker=marker, ms=4, lw=1.2, label=name)
        share.semilogx(pixels, [100 * m.rate / highest for m in own], marker=marker, ms=4, lw=1.2)
    for axis in (latency, share):
        label_sizes(axis, {m.size**2 for m in good})
        axis.set_xlabel("pixels N = H·W" + ("; dotted: growth as N, dashed: as N²" if axis is latency else ""))
    if good:
        draw_slopes(latency, {m.size**2 for m in good}, min(m.seconds * 1e3 for m in good))
    latency.set_ylabel("latency of a forecast, ms")
    share.set_ylabel("share of this machine's peak, %")
    share.set_ylim(0)
    figure.legend(fontsize=8, loc="outside right center")
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
