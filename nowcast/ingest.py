"""A service's files as an archive: `python -m nowcast.ingest --input 'folder/**' --output archive.zarr`."""

import csv
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from nowcast.contracts import InputError
from nowcast.data.ingest import Recipe, Report, find_files, ingest
from nowcast.data.quality import QualityControl
from nowcast.program import run

SOME_SKIPPED = 3  # exit code
SHOWN = 5  # skipped files that are named on the screen
FEW = 32  # files that one process reads sooner than others have started


def main(
    input: list[str],
    output: Path,
    format: str = "auto",
    options: dict[str, Any] | None = None,
    time_pattern: str | None = None,
    on_error: Literal["skip", "stop"] = "skip",
    append: bool = False,
    overwrite: bool = False,
    speckle: int = 0,
    clip: float | None = None,
    clutter: float | None = None,
    workers: int | None = None,
) -> None:
    """Gather radar files into one CF archive of rain rate in mm/h.

    Exits with code 3 when files were skipped; they are listed in OUTPUT.skipped.csv with what is wrong with each.

    Args:
        input: files, folders or quoted globs (** for folders of any depth).
        output: archive to write, ending in .zarr or .nc.
        format: a reader (odim_hdf5, knmi_hdf5, fmi_pgm, fmi_geotiff, mch_gif, bom_rf3, mrms_grib2, radolan,
            sevir_vil, cf), or auto to tell it from each file.
        options: of the reader, such as {"zr_a":300,"zr_b":1.4}.
        time_pattern: how file names tell the time when contents do not, such as %y%j%H%M.
        on_error: skip files that cannot be used, or stop at the first.
        append: add to the archive that is there; frames that it has already are left as they are.
        overwrite: replace the archive that is there.
        speckle: wet areas of fewer pixels than this become dry.
        clip: cut rates to this many mm/h.
        clutter: pixels wet in more than this share of all frames become unobserved.
        workers: processes that read; as many as there are processors unless given.
    """
    if append and overwrite:
        raise InputError("--append keeps the archive and --overwrite replaces it; choose one")
    if output.exists() and not (append or overwrite):
        raise InputError(f"{output} exists; --append adds to it, --overwrite replaces it")
    recipe = Recipe(format, options or {}, time_pattern, QualityControl(speckle, clip, clutter))
    files = [path for path in find_files(input) if path not in (output, _list_of(output))]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(files) > FEW else 1
    report = ingest(files, output, recipe, append, on_error, workers, _Progress())
    already = f", {report.present} were there already" if report.present else ""
    print(f"{output}: {report.written} frames of {len(files)} files{already}")
    if report.skipped:
        _tell(report, _list_of(output))
        sys.exit(SOME_SKIPPED)


class _Progress:
    """Files done, their rate and the time left, on a terminal."""

    def __init__(self) -> None:
        self.began = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            rate = done / (time.perf_counter() - self.began)
            minutes, seconds = divmod(round((total - done) / rate), 60)
            said = f"{done}/{total} files, {rate:.1f} a second, {minutes}:{seconds:02} left"
            print(said, end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def _list_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.skipped.csv")


def _tell(report: Report, path: Path) -> None:
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "reason"])
        table.writerows([bad.path, bad.reason] for bad in report.skipped)
    for bad in report.skipped[:SHOWN]:
        print(f"skipped {bad.path}: {bad.reason}", file=sys.stderr)
    print(f"{len(report.skipped)} files or frames were skipped; {path} lists them", file=sys.stderr)


if __name__ == "__main__":
    run(main)
