"""Runs that die in the middle, or run out of disk, in processes of their own."""

import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nowcast import baselines
from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.forecast_file import ForecastWriter
from nowcast.data.forecast_layout import Field
from nowcast.data.forecast_output import Existing
from nowcast.forecasting import forecast_archive, possible_starts

NUMBER = 10  # forecasts of a run
DEADLY: dict[str, tuple[Any, str]] = {
    "replace": (os, "replace"),
    "append": (ForecastWriter, "append_deflated"),
    "pack": (Field, "pack"),
    "tidy": (shutil, "rmtree"),
}


def forecast(
    archive_path: Path, output: str, existing: Existing = "refuse", steps: int = 3, batch_size: int = 4
) -> None:
    """Persistence of the first frames of an archive."""
    archive = Archive.open(archive_path)
    starts = possible_starts(archive, 1, 5)[:NUMBER]
    forecast_archive(baselines.create("persistence"), archive, output, starts, steps, 5, batch_size, existing=existing)


def interrupted(archive_path: Path, output: str, deadly: str = "", times: int = 0, room: int = 0) -> tuple[int, str]:
    """Forecast until something is done for the n-th time, which is answered by kill -9, or no file may grow further.

    Returns:
        The exit code of the process, and what its InputError said.
    """
    context = multiprocessing.get_context("forkserver")  # it imports once, then each process is a matter of moments
    context.set_forkserver_preload([__name__])
    said, say = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(str(archive_path), output, deadly, times, room, say))
    process.start()
    say.close()
    process.join(120)
    try:
        message = said.recv()
    except EOFError:
        message = ""
    return process.exitcode, message  # type: ignore[return-value]


def _run(archive_path: str, output: str, deadly: str, times: int, room: int, say: Any) -> None:
    if deadly:
        owner, name = DEADLY[deadly]
        setattr(owner, name, dying(getattr(owner, name), times))
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        forecast(Path(archive_path), output)
    except InputError as error:
        say.send(str(error))
        raise SystemExit(2) from error


def dying(function: Callable[..., Any], times: int) -> Callable[..., Any]:
    """A function whose process is killed when it is called so many times."""
    count = 0

    def die(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return die
