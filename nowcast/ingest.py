"""A service's files as an archive: `python -m nowcast.ingest --input 'folder/**' --output archive.zarr`."""

import csv
import os
import sys
from pathlib import Path
from typing import Any, Literal

from nowcast.contracts import InputError
from nowcast.data.ingest import Existing, Report, ingest
from nowcast.data.intake import Recipe, find_files
from nowcast.data.quality import QualityControl
from nowcast.program import run
from nowcast.report.progress import progress_bar

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
    resume: bool = False,
    speckle: int = 0,
    clip: float | None = None,
    clutter: float | None = None,
    jobs: int | None = None,
    dask: str | None = None,
) -> None:
    """Gather radar files into one CF archive of rain rate in mm/h.

    Exits with code 3 when files were skipped; they are listed in OUTPUT.skipped.csv with what is wrong with each.

    Args:
        input: files, folders or quoted globs (** for folders of any depth).
        output: archive to write, ending in .zarr (better for long ones) or .nc.
        format: a reader (odim_hdf5, knmi_hdf5, fmi_pgm, fmi_geotiff, geotiff, mch_gif, bom_rf3, mrms_grib2, radolan,
            sevir_vil, cf), or auto to tell it from each file.
        options: of the reader, such as {"zr_a":300,"zr_b":1.4}.
        time_pattern: how file names tell the time when contents do not, such as %y%j%H%M.
        on_error: skip files that cannot be used, or stop at the first.
        append: add to the archive that is there; frames that it has already are left as they are.
        overwrite: replace the archive, or the unfinished ingest, that is there.
        resume: go on with an ingest that was stopped, with the same other options; where none was, like append.
        speckle: wet areas of fewer pixels than this become dry.
        clip: cut rates to this many mm/h.
        clutter: pixels wet in more than this share of all frames become unobserved.
        jobs: processes that read; as many as there are processors unless given.
        dask: address of a dask scheduler whose workers read instead; they must see the files by the same paths.
    """
    wishes = [wish for wish, given in (("append", append), ("overwrite", overwrite), ("resume", resume)) if given]
    if len(wishes) > 1:
        raise InputError(f"{' and '.join(f'--{wish}' for wish in wishes)} exclude each other; choose one")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs is above 0, not {jobs}")
    existing: Existing = wishes[0] if wishes else "refuse"  # type: ignore[assignment]
    recipe = Recipe(format, options or {}, time_pattern, QualityControl(speckle, clip, clutter))
    files = [path for path in find_files(input) if path not in (output, _list_of(output))]
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if len(files) > FEW else 1
    try:
        with progress_bar("files") as progress:
            report = ingest(files, output, recipe, existing, on_error, jobs, dask, progress)
    except KeyboardInterrupt:
        print(f"{output} is not finished; --resume goes on", file=sys.stderr)
        raise
    _tell(report, output, len(files))
    if report.skipped:
        sys.exit(SOME_SKIPPED)


def _list_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.skipped.csv")


def _tell(report: Report, output: Path, files: int) -> None:
    also = {"were there already": report.present, "came out of the order of time and were sorted in": report.disordered}
    told = "".join(f", {count} {what}" for what, count in also.items() if count)
    print(f"{output}: {report.written} frames of {files} files{told}")
    if not report.skipped:
        return
    with open(_list_of(output), "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "reason"])
        table.writerows([bad.path, bad.reason] for bad in report.skipped)
    for bad in report.skipped[:SHOWN]:
        print(f"skipped {bad.path}: {bad.reason}", file=sys.stderr)
    print(f"{len(report.skipped)} files or frames were skipped; {_list_of(output)} lists them", file=sys.stderr)


if __name__ == "__main__":
    run(main)
