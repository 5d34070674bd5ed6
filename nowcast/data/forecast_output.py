"""Where a batch of forecasts goes: one file, one file an initial time, or Zarr, safe against being stopped anywhere.

Each forecast is put away whole under a temporary name and renamed, in a hidden folder beside the output that also
holds the recipe of the run. What is there when a run starts again need not be made again, and the output appears under
its name when it holds all.
"""

import itertools
import json
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nowcast.contracts import InputError
from nowcast.data.forecast_file import ForecastFile, ForecastWriter, deflated
from nowcast.data.forecast_layout import Layout
from nowcast.data.unfinished import locked, told_as_os_error, told_when_full, unfinished_folder

Existing = Literal["refuse", "overwrite", "resume"]
RECIPE = "recipe.json"
LENGTH = np.dtype("<u8")  # of a map in bytes


class ForecastOutput(ABC):
    """Takes forecasts by number, in any order; one process opens it, and may have others write.

    Args:
        path: of the output.
        layout: of every forecast.
        init_times: of all forecasts, increasing; a forecast's number is its place here.
        recipe: what else the values depend on, such as the batch size; a run is resumed with the same only.
    """

    def __init__(
        self, path: str | os.PathLike, layout: Layout, init_times: np.ndarray, recipe: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.layout, self.init_times = Path(path), layout, init_times
        self.work = unfinished_folder(self.path)
        self._options = dict(recipe or {})

    @property
    def recipe(self) -> dict[str, Any]:
        """What another run must have in common with this one to go on with it."""
        layout = self.layout
        return json.loads(json.dumps({
            **self._options,
            "attributes": dict(layout.attrs),
            "fields": {field.name: list(layout.shape(field)) for field in layout.fields},
            "axes": {str(f.axis.name): f.axis.values.tolist() for f in layout.fields if f.axis is not None},
            "lead times": list(layout.lead_times_s),
            "initial times": [str(time) for time in self.init_times],
        }, default=str))  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Of other processes it is the same wherever they work."""
        return {**self.__dict__, "path": self.path.absolute(), "work": self.work.absolute()}

    @abstractmethod
    def has(self, number: int) -> bool:
        """Whether a forecast is there already."""

    @abstractmethod
    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Put away a forecast: (T_out, …, H, W) by name of the field, NaN where it cannot say."""

    @abstractmethod
    def _show(self) -> None:
        """Put what was written under the output's name."""

    @contextmanager
    def opened(self, existing: Existing) -> Iterator[None]:
        """The time in which forecasts are made; at its end, unless by an exception, the output is shown.

        Args:
            existing: what becomes of the output or the unfinished run that is there: refuse to touch it, replace it,
                or take over its forecasts.

        Raises:
            InputError: where there is something and it is not to be touched, or cannot be taken over, or another
                process writes, or no room is left on the disk.
        """
        with told_when_full(self.path):
            self._look(existing)
            with locked(self.work, self.path):
                try:
                    if not (self.work / RECIPE).exists() or existing != "resume":
                        self._begin(existing == "overwrite")
                    self._check_recipe()
                    yield
                    self._show()
                    (self.work / RECIPE).unlink()  # first, so that a half-removed folder is not taken for a run
                    self.tidy()
                finally:
                    if not any(map(self.has, range(len(self.init_times)))):
                        self.tidy()

    def is_complete(self) -> bool:
        """Whether the output is there under its name, made by the same model, with all forecasts."""
        if not self.path.exists() or (self.work / RECIPE).exists():
            return False
        file = ForecastFile.open(self.path)
        try:
            same = np.array_equal(file.init_times, self.init_times.astype("datetime64[ms]"))
            same &= np.array_equal(file.lead_times_s, self.layout.lead_times_s)
            return same and all(str(file.attrs.get(key)) == str(value) for key, value in self.layout.attrs.items())
        finally:
            file.close()

    def present(self) -> bool:
        """Whether something stands under the output's name."""
        return self.path.exists()

    def tidy(self) -> None:
        """Remove the hidden folder."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _look(self, existing: Existing) -> None:
        if existing == "refuse" and self.present():
            raise InputError(f"{self.path} exists; --overwrite replaces it")
        if existing == "refuse" and (self.work / RECIPE).exists():
            raise InputError(f"{self.path} was begun and not finished; --resume goes on, --overwrite begins anew")
        if existing == "resume" and self.present() and not (self.work / RECIPE).exists():
            raise InputError(f"{self.path} is finished and holds other forecasts; --overwrite replaces it")

    def _begin(self, overwrite: bool) -> None:
        """Empty the hidden folder; the recipe comes last, so that without one nothing in it is trusted."""
        for item in self.work.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != "lock":
                item.unlink()
        self._prepare(overwrite)
        write_whole(self.work / RECIPE, json.dumps(self.recipe, indent=1).encode())

    def _prepare(self, overwrite: bool) -> None:  # noqa: B027
        """What must be done before the first forecast; nothing, if not said otherwise."""

    def _check_recipe(self) -> None:
        begun, recipe = json.loads((self.work / RECIPE).read_text()), self.recipe
        other = [key for key in recipe if begun.get(key) != recipe[key]]
        if other:
            raise InputError(
                f"{self.path} was begun with other {', '.join(other)} than this run's; "
                "give --resume the same options, or --overwrite"
            )


class SingleFile(ForecastOutput):
    """One NetCDF4 file. Forecasts wait in the hidden folder as it will hold them, for a half-written one is lost."""

    def has(self, number: int) -> bool:
        """Whether a forecast is there already."""
        return self._place(number).exists()

    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Put away a forecast."""
        packed = self.layout.pack(fields)
        maps = [one for field in self.layout.fields for one in deflated(packed[field.name])]
        write_whole(self._place(number), b"".join([np.array([*map(len, maps)], LENGTH).tobytes(), *maps]))

    def _show(self) -> None:
        with told_as_os_error(self.path), ForecastWriter(self.work / "whole.nc", self.layout, self.init_times) as file:
            for number in range(len(self.init_times)):
                file.append_deflated(self._read(number))
        os.replace(self.work / "whole.nc", self.path)

    def _read(self, number: int) -> dict[str, list[bytes]]:
        counts = [math.prod(self.layout.shape(field)[:-2]) for field in self.layout.fields]
        with open(self._place(number), "rb") as file:
            lengths = np.frombuffer(file.read(LENGTH.itemsize * sum(counts)), LENGTH)
            maps = iter([file.read(length) for length in lengths])
        return {
            field.name: list(itertools.islice(maps, count))
            for field, count in zip(self.layout.fields, counts, strict=True)
        }

    def _place(self, number: int) -> Path:
        return self.work / f"{number:06d}.maps"


class Folder(ForecastOutput):
    """A folder of files, each there as soon as it is made; other files stay."""

    def has(self, number: int) -> bool:
        """Whether a forecast is there already."""
        return all(place.exists() for place in self._places(number))

    def is_complete(self) -> bool:
        """Whether all files are there."""
        return not (self.work / RECIPE).exists() and all(map(self.has, range(len(self.init_times))))

    def present(self) -> bool:
        """Whether any of the forecasts is there."""
        return any(map(self.has, range(len(self.init_times))))

    @abstractmethod
    def _places(self, number: int) -> list[Path]:
        """The files of a forecast."""

    def _stamp(self, number: int) -> str:
        """The initial time of a forecast, for names."""
        return str(self.init_times[number].astype("datetime64[s]")).replace("-", "").replace(":", "") + "Z"

    def _look(self, existing: Existing) -> None:
        if existing != "resume":  # which keeps the files of a finished run, and adds those that are missing
            super()._look(existing)

    def _prepare(self, overwrite: bool) -> None:
        for number in range(len(self.init_times)) if overwrite else ():
            for place in self._places(number):
                place.unlink(missing_ok=True)

    def _show(self) -> None:
        """They are there."""


class FileEach(Folder):
    """One NetCDF4 file an initial time."""

    def write(self, number: int, fields: Mapping[str, np.ndarray]) -> None:
        """Put away a forecast."""
        hidden, (place,) = self.work / f"{number}.nc", self._places(number)
        with (
            told_as_os_error(self.path),
            ForecastWriter(hidden, self.layout, self.init_times[number : number + 1]) as file,
        ):
            file.append(self.layout.pack(fields))
        self.path.mkdir(parents=True, exist_ok=True)
        os.replace(hidden, place)

    def _places(self, number: int) -> list[Path]:
        return [self.path / f"{self._stamp(number)}.nc"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is whole as soon as it has its name, also after a loss of power."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
