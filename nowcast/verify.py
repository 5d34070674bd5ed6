"""Score forecast files: `python -m nowcast.verify --forecast a.nc b.nc --observed ARCHIVE`."""

import sys
from pathlib import Path

from rich.console import Console

from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.program import run
from nowcast.report.skill import SkillTable, plot_skill, write_skill_csv
from nowcast.verification import Pixels
from nowcast.verifying import Regrid, verify_files


def verify(
    forecast: list[str],
    observed: str,
    output: str | None = None,
    thresholds: tuple[float, ...] = (0.1, 1.0, 5.0),
    pixels: Pixels = "observed",
    regrid: Regrid = "refuse",
) -> None:
    """Score rain forecasts by lead time against radar: a table, skill.csv and skill.png.

    Args:
        forecast: one or several forecast files; all are scored on the same cases and lead times.
        observed: radar archive, a NetCDF or Zarr path or a quoted glob.
        output: folder of skill.csv and skill.png; beside the first forecast file unless given.
        thresholds: rain rates in mm/h of the events that are scored.
        pixels: observed (all with radar; a missing forecast counts as dry) or common (those that all forecast).
        regrid: of forecasts on another grid than the archive: refuse, or nearest (each pixel of the archive is judged
            by the forecast for the pixel in which its centre lies).
    """

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"{done}/{total} cases", end="\n" if done == total else "\r", file=sys.stderr, flush=True)

    if not forecast:
        raise InputError("--forecast names no file; give one or several forecast files")
    first = Path(forecast[0])
    folder = Path(output) if output else first.with_name(f"{first.stem}_skill")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --output must name a folder, for skill.csv and skill.png")
    skill = verify_files(forecast, Archive.open(observed), thresholds, pixels, progress, regrid)
    folder.mkdir(parents=True, exist_ok=True)
    write_skill_csv(skill, folder / "skill.csv")
    plot_skill(skill, folder / "skill.png")
    Console().print(SkillTable(skill))
    scored, all_times = int(skill.cases[0]), skill.attrs["initial_times"]
    print(f"scored {scored} of {all_times} initial times: those in every file and with all frames observed")
    print(f"results are in {folder}: skill.csv, skill.png")


if __name__ == "__main__":
    run(verify)
