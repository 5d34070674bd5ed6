"""Make synthetic radar: `python -m nowcast.synthesize --output FOLDER`."""

from pathlib import Path

from nowcast.contracts import InputError
from nowcast.data.synthetic import Synthesis, Weather, synthesize
from nowcast.program import run


def make(
    output: Path,
    events: int = 9,
    frames: int = 48,
    height: int = 192,
    width: int = 192,
    step_minutes: float = 5,
    pixel_km: float = 1,
    weather: Weather | None = None,
    seed: int = 0,
) -> None:
    """Make events of synthetic radar as archives event_000.nc, event_001.nc, … that look like real ones.

    Args:
        output: folder; events that it holds already are kept if they are of the same recipe.
        events: how many.
        frames: of each event.
        height: of the grid in pixels.
        width: of the grid in pixels.
        step_minutes: between frames.
        pixel_km: grid length in km.
        weather: of all events; stratiform, convective and orographic in turn unless given.
        seed: the same seed is the same rain.
    """
    recipe = Synthesis(events, frames, height, width, step_minutes, pixel_km, weather, seed)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; --output names a folder")
    paths = synthesize(recipe, output)
    size = f"{frames} frames of {height} × {width}"
    print(f"{output} holds {len(paths)} events of {size}: {paths[0].name} … {paths[-1].name}")


if __name__ == "__main__":
    run(make)
