"""Look at training runs: `python -m nowcast.dashboard RUNS`.

Writes RUNS/index.html, one page of all run folders in RUNS that needs nothing else, and can start TensorBoard on them.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from nowcast.contracts import InputError
from nowcast.program import run
from nowcast.report.runs.page import write_page

HOST = "localhost"
START_S = 60.0  # in which TensorBoard must answer


def dashboard(runs: list[str], tensorboard: bool = False, port: int = 6006, watch: float | None = None) -> None:
    """Make a page of training runs, index.html in the first of their folders (--runs need not be written).

    Args:
        runs: folders of runs, or with runs somewhere in them; the page is written into the first.
        tensorboard: whether to start TensorBoard on them too, until it is interrupted.
        port: of TensorBoard.
        watch: seconds after which the page is written anew, until it is interrupted.
    """
    folders = [Path(name) for name in runs]
    if not folders:
        raise InputError("no folder of runs is named; try python -m nowcast.dashboard runs")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name one in which trainings have left their run folders")
    if watch is not None and watch <= 0:
        raise InputError(f"--watch is a number of seconds above 0, not {watch:g}")
    print(f"the page is {write_page(folders, watch)}", flush=True)
    if tensorboard:
        with started(folders, port) as process:
            stay(folders, watch, process)
    elif watch:
        stay(folders, watch)


def stay(folders: Sequence[Path], watch: float | None, process: subprocess.Popen | None = None) -> None:
    """Write the page again and again, until TensorBoard ends or somebody interrupts."""
    while process is None or process.poll() is None:
        time.sleep(watch or 1.0)
        if watch:
            write_page(folders, watch)


@contextmanager
def started(folders: Sequence[Path], port: int) -> Iterator[subprocess.Popen]:
    """TensorBoard on some folders, whose address is printed once it answers; it ends with the block.

    Raises:
        InputError: when the port is taken or TensorBoard does not start.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port} is not free ({error}); give TensorBoard another with --port") from error
    if not any(True for folder in folders for _ in folder.rglob("events.out.tfevents.*")):
        print("no run there has logged to TensorBoard; train with --config configs/trainer/tensorboard.yaml")
    named = ",".join(f"{folder.resolve().name}:{folder}" for folder in folders)
    where = ["--logdir", str(folders[0])] if len(folders) == 1 else ["--logdir_spec", named]
    command = [sys.executable, "-m", "tensorboard.main", *where, "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        _wait(process, port)
        print(f"TensorBoard is at http://{HOST}:{port}/ until you press Ctrl+C", flush=True)
        yield process
    finally:
        signal.signal(signal.SIGTERM, before)
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise InputError(f"TensorBoard does not start; see what {sys.executable} -m tensorboard.main says")


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def with_folders_named(words: Sequence[str]) -> list[str]:
    """`RUNS MORE --watch 5` as `--runs RUNS MORE --watch 5`."""
    return ["--runs", *words] if words and not words[0].startswith("-") else list(words)


if __name__ == "__main__":
    run(dashboard, with_folders_named(sys.argv[1:]))
