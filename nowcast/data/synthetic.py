"""Synthetic radar: rain that is carried, turns, grows, decays and is born, as archives like real ones.

A Gaussian field whose every wavelength has its own lifetime, as the levels of STEPS have (Bowler, Pierce and Seed
2006, doi 10.1256/qj.04.100), follows the wind; what of it lies above a threshold rains, which makes rain
intermittent and its rates skewed.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from pyproj import CRS
from scipy import fft, ndimage

from nowcast.contracts import InputError
from nowcast.data.archive import write_archive

Weather = Literal["stratiform", "convective", "orographic"]


@dataclass(frozen=True)
class Climate:
    """What one kind of weather is made of. "Strength" is of the Gaussian field, whose deviation is 1.

    Args:
        threshold: strength from which it rains.
        gain_db: dB rain rate above 0.1 mm/h at a strength of 1 over the threshold.
        longest_km: wavelength beyond which the field has no more power.
        lifetime: minutes in which a wavelength of 10 km decorrelates; others by the power 0.9 of their length.
        cells: births of convective cells an hour on 100 km × 100 km.
        lifting: strength that a slope of one deviation adds where the wind blows up it.
    """

    threshold: float
    gain_db: float
    longest_km: float
    lifetime: float
    cells: float
    lifting: float


CLIMATES: dict[Weather, Climate] = {
    "stratiform": Climate(threshold=0.75, gain_db=10.5, longest_km=260, lifetime=100, cells=0, lifting=0),
    "convective": Climate(threshold=1.6, gain_db=13.5, longest_km=120, lifetime=90, cells=10, lifting=0),
    "orographic": Climate(threshold=1.1, gain_db=12, longest_km=180, lifetime=90, cells=3, lifting=0.3),
}
SLOPE = 3.4  # of the power of the Gaussian field against wavenumber; the threshold makes that of rain less steep
CONCAVITY = 0.65  # exponent of strength over threshold to dB: rain sets in fast and grows slowly
DRY_DB, STEP_DBZ = -10.0, 0.5
Z_FACTOR, Z_EXPONENT = 200.0, 1.6


@dataclass(frozen=True)
class Synthesis:
    """The recipe of a folder of synthetic events.

    Args:
        events: how many; number n is the same whatever their number.
        frames: of each event.
        height, width: of the grid in pixels.
        step_minutes: between frames.
        pixel_km: grid length.
        weather: of all events; None takes stratiform, convective and orographic in turn.
        seed: of the random numbers; the same seed is the same rain.
    """

    events: int = 9
    frames: int = 48
    height: int = 192
    width: int = 192
    step_minutes: float = 5
    pixel_km: float = 1
    weather: Weather | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"events": 1, "frames": 1, "height": 16, "width": 16}.items():
            if getattr(self, name) < least:
                raise InputError(f"synthetic radar needs {name} of at least {least}, not {getattr(self, name)}")
        for name in ("step_minutes", "pixel_km"):
            if not getattr(self, name) > 0:
                raise InputError(f"synthetic radar needs a {name} above 0, not {getattr(self, name)}")
        if self.weather not in (None, *CLIMATES):
            raise InputError(f"no weather is called {self.weather!r}; there are {', '.join(CLIMATES)}")

    def ingredients(self) -> str:
        """All that shapes an event, which is all but the number of events, as it is noted in the archive."""
        return json.dumps({key: value for key, value in asdict(self).items() if key != "events"})


def synthesize(recipe: Synthesis, folder: Path) -> list[Path]:
    """Write the events of a recipe that a folder does not hold yet, as event_000.nc, event_001.nc, …

    Raises:
        InputError: when an event is there already that another recipe made.
    """
    paths = [folder / f"event_{number:03}.nc" for number in range(recipe.events)]
    missing = [number for number, path in enumerate(paths) if not _is_there(path, recipe)]
    for number in missing:
        write_archive(synthetic_event(recipe, number), paths[number])
    return paths


def synthetic_event(recipe: Synthesis, number: int) -> xr.Dataset:
    """One event: rain_rate (time, y, x) in mm/h with NaN outside radar coverage."""
    random = np.random.default_rng([recipe.seed, number])
    weather = recipe.weather or list(CLIMATES)[number % len(CLIMATES)]
    sky = Sky(CLIMATES[weather], recipe, random)
    unseen = ~coverage(recipe.height, recipe.width, random)
    rate = np.empty((recipe.frames, recipe.height, recipe.width), dtype=np.float32)
    for frame, strength in zip(rate, sky.frames(), strict=False):
        frame[:] = quantised(rain_rate(strength, CLIMATES[weather]))
        frame[unseen] = np.nan
    return _as_archive(rate, recipe, number, weather)


class Sky:
    """The strength of rain on the grid, frame after frame.

    It lives on a periodic domain larger than the grid, in coordinates that move with the air: `labels` says of each
    place where its air started, so that the field is sampled once a frame and carried without being smeared.

    Args:
        climate: the kind of weather.
        recipe: grid and step.
        random: source of all random numbers.
    """

    def __init__(self, climate: Climate, recipe: Synthesis, random: np.random.Generator) -> None:
        self.climate, self.recipe, self.random = climate, recipe, random
        self.grid = recipe.height, recipe.width
        self.shape = tuple(fft.next_fast_len(int(1.4 * size), real=True) for size in self.grid)
        rows, columns = (fft.fftfreq(size, recipe.pixel_km) for size in self.shape)
        self.wavenumber = np.hypot(rows[:, None], columns[: self.shape[1] // 2 + 1].__abs__())
        self.labels = np.indices(self.shape).astype(float)
        self.wind = Wind(self, random)
        self.slopes = np.gradient(self.smooth(50)) if climate.lifting else None
        self.cells: list[Cell] = []

    def frames(self) -> Iterator[np.ndarray]:
        """Strengths (height, width), without end."""
        step, climate = self.recipe.step_minutes, self.climate
        power = (self.wavenumber**2 + climate.longest_km**-2) ** (-SLOPE / 4)
        power[0, 0] = 0
        with np.errstate(divide="ignore"):
            lifetime = climate.lifetime * (0.1 / self.wavenumber) ** 0.9
        memory = np.exp(-step / np.minimum(lifetime, 600))
        field = power * self.noise()
        scale = 1 / fft.irfft2(field, self.shape).std()
        self._raise_cells(warm_up=60)
        while True:
            moving = scale * fft.irfft2(field, self.shape) + self._cells_now()
            yield self._seen(moving)
            field = memory * field + np.sqrt(1 - memory**2) * power * self.noise()
            self._raise_cells(warm_up=0)
            self.wind.blow(step)

    def noise(self) -> np.ndarray:
        """The transform of white noise on the domain."""
        return fft.rfft2(self.random.standard_normal(self.shape))

    def smooth(self, shortest_km: float) -> np.ndarray:
        """A periodic random field of deviation 1 without wavelengths under a length."""
        field = fft.irfft2(self.noise() * np.exp(-((self.wavenumber * shortest_km) ** 2)), self.shape)
        return (field - field.mean()) / field.std()

    def _seen(self, moving: np.ndarray) -> np.ndarray:
        height, width = self.grid
        here = self.labels[:, :height, :width]
        strength = ndimage.map_coordinates(moving, here, order=3, mode="grid-wrap")
        if self.slopes is not None:
            lift = sum(wind * slope for wind, slope in zip(self.wind.direction(), self.slopes, strict=True))
            strength += self.climate.lifting * (lift / lift.std())[:height, :width]
        return strength

    def _raise_cells(self, warm_up: float) -> None:
        """Let cells be born during the next step, or during `warm_up` minutes before the first."""
        area = np.prod(self.shape) * self.recipe.pixel_km**2 / 1e4
        minutes = warm_up or self.recipe.step_minutes
        births = self.random.poisson(self.climate.cells * area * minutes / 60)
        self.cells = [cell for cell in self.cells if cell.age < cell.lifetime]
        for cell in self.cells:
            cell.age += self.recipe.step_minutes
        for _ in range(births):
            self.cells.append(Cell.born(self.shape, self.recipe.pixel_km, warm_up, self.random))

    def _cells_now(self) -> np.ndarray:
        field = np.zeros(self.shape)
        for cell in self.cells:
            cell.add_to(field)
        return field


@dataclass
class Cell:
    """A shower in the coordinates of the air: an ellipse that grows and decays like half a sine.

    Args:
        centre: row and column in pixels.
        radii: along and across it, in pixels.
        turn: angle of its long side in radians.
        strength: at its peak, in the middle of its life.
        lifetime, age: in minutes.
    """

    centre: np.ndarray
    radii: np.ndarray
    turn: float
    strength: float
    lifetime: float
    age: float

    @classmethod
    def born(cls, shape: tuple[int, ...], pixel_km: float, warm_up: float, random: np.random.Generator) -> "Cell":
        """A random cell, up to `warm_up` minutes old."""
        return cls(
            centre=random.uniform(0, shape),
            radii=random.uniform(1.5, 4.5) * np.array([random.uniform(1, 2), 1]) / pixel_km,
            turn=random.uniform(0, np.pi),
            strength=random.gamma(6, 0.3),
            lifetime=random.uniform(30, 120),
            age=random.uniform(0, warm_up),
        )

    def add_to(self, field: np.ndarray) -> None:
        """Add its strength now to a periodic field."""
        reach = int(np.ceil(3 * self.radii.max()))
        first = np.floor(self.centre).astype(int) - reach
        rows, columns = (start + np.arange(2 * reach + 1) for start in first)
        down, right = (rows - self.centre[0])[:, None], (columns - self.centre[1])[None]
        along = np.cos(self.turn) * down + np.sin(self.turn) * right
        across = np.cos(self.turn) * right - np.sin(self.turn) * down
        shape = np.exp(-0.5 * ((along / self.radii[0]) ** 2 + (across / self.radii[1]) ** 2))
        now = self.strength * max(np.sin(np.pi * self.age / self.lifetime), 0)
        np.add.at(field, np.ix_(rows % field.shape[0], columns % field.shape[1]), now * shape)


class Wind:
    """A steady flow with eddies of over 100 km that turns slowly; it carries the labels of a sky.

    Args:
        sky: whose air it moves.
        random: draws speed (7 to 18 m/s), direction and turning (up to 15° an hour either way).
    """

    def __init__(self, sky: Sky, random: np.random.Generator) -> None:
        self.sky = sky
        speed = random.uniform(7, 18) * 0.06 / sky.recipe.pixel_km  # pixels a minute
        angle, self.turning = random.uniform(0, 2 * np.pi), np.deg2rad(random.uniform(-15, 15)) / 60
        down, right = np.gradient(sky.smooth(120))
        eddies = np.stack([right, -down])  # across the slopes of a stream function: no divergence
        steady = np.array([np.sin(angle), np.cos(angle)])[:, None, None]
        self.velocity = speed * (steady + 0.12 * eddies / np.hypot(*eddies).std())

    def blow(self, minutes: float) -> None:
        """Carry the air for a time, then turn."""
        places = np.indices(self.sky.shape)
        moved = minutes * self.velocity
        shifted = self.sky.labels - places  # periodic, unlike the labels
        carried = [ndimage.map_coordinates(axis, places - moved, order=1, mode="grid-wrap") for axis in shifted]
        self.sky.labels = places - moved + carried
        cos, sin = np.cos(self.turning * minutes), np.sin(self.turning * minutes)
        down, right = self.velocity
        self.velocity = np.stack([cos * down + sin * right, cos * right - sin * down])

    def direction(self) -> np.ndarray:
        """Mean wind (down, right) as a unit vector."""
        mean = self.velocity.mean(axis=(1, 2))
        return mean / np.hypot(*mean)


def rain_rate(strength: np.ndarray, climate: Climate) -> np.ndarray:
    """mm/h of a strength: none under the threshold, from 0.1 there."""
    above = np.maximum(strength - climate.threshold, 0)
    rate = 10 ** ((DRY_DB + climate.gain_db * above**CONCAVITY) / 10)
    return np.where(above > 0, rate, 0)


def quantised(rate: np.ndarray) -> np.ndarray:
    """Rates in mm/h as a radar with steps of half a dBZ tells them; dry stays dry."""
    with np.errstate(divide="ignore"):
        dbz = 10 * np.log10(Z_FACTOR * rate**Z_EXPONENT)
    return (10 ** (STEP_DBZ * np.round(dbz / STEP_DBZ) / 10) / Z_FACTOR) ** (1 / Z_EXPONENT)


def coverage(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Which pixels radar sees: the union of three circles around the middle of the grid."""
    rows, columns = np.indices((height, width))
    seen = np.zeros((height, width), dtype=bool)
    for _ in range(3):
        row, column = random.uniform(0.25, 0.75, 2) * (height, width)
        radius = random.uniform(0.35, 0.6) * max(height, width)
        seen |= np.hypot(rows - row, columns - column) <= radius
    return seen


def _is_there(path: Path, recipe: Synthesis) -> bool:
    if not path.exists():
        return False
    try:
        with xr.open_dataset(path) as dataset:
            made_by = json.loads(dataset.attrs.get("recipe", "{}"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is in the way of a synthetic event and is no readable archive: {error}") from error
    wanted = json.loads(recipe.ingredients())
    differing = [key for key in wanted if made_by.get(key) != wanted[key]]
    if differing:
        said = ", ".join(f"{key} {made_by.get(key)} instead of {wanted[key]}" for key in differing)
        raise InputError(f"{path} was made by another recipe ({said}); remove it or choose another folder")
    return True


def _as_archive(rate: np.ndarray, recipe: Synthesis, number: int, weather: str) -> xr.Dataset:
    length = 1000.0 * recipe.pixel_km
    times = np.datetime64("2001-06-01", "s") + np.timedelta64(number, "D").astype("timedelta64[s]")
    times = times + np.round(60 * recipe.step_minutes * np.arange(recipe.frames)).astype("timedelta64[s]")
    y, x = (length * (np.arange(size) - (size - 1) / 2) for size in (recipe.height, recipe.width))
    crs = CRS.from_dict({"proj": "laea", "lat_0": 50, "lon_0": 10, "ellps": "WGS84", "units": "m"})
    return xr.Dataset(
        {
            "rain_rate": (("time", "y", "x"), rate, {"grid_mapping": "crs"}),
            "crs": ((), np.int32(0), crs.to_cf()),
        },
        coords={
            "time": times.astype("datetime64[ns]"),
            "y": ("y", y[::-1], {"standard_name": "projection_y_coordinate", "units": "m"}),
            "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        },
        attrs={
            "title": f"Synthetic radar, event {number}",
            "source": "nowcast.data.synthetic",
            "kind": weather,
            "recipe": recipe.ingredients(),
        },
    )
