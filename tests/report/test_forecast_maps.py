"""Quick looks show the rain where it is, in its colours, at its time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image, ImageSequence

from nowcast.report.forecast_maps import plot_forecast
from nowcast.report.maps import NODATA, rain_colours

START = np.datetime64("2020-06-01T12:00")


def colour_share(image: np.ndarray, colour: str) -> float:
    wanted = 255 * np.array(colors.to_rgb(colour))
    return float((np.abs(image[..., :3].astype(float) - wanted).max(axis=-1) < 12).mean())


@pytest.fixture
def rate() -> np.ndarray:
    """A third of each map rains at 7 mm/h, a third is dry, a third unknown; the last map is dry throughout."""
    field = np.zeros((60, 90), dtype=np.float32)
    field[:, :30], field[:, 60:] = 7, np.nan
    return np.stack([field, field, np.zeros_like(field)])


def test_a_sheet_has_rain_dry_and_unknown_in_equal_parts(rate: np.ndarray, tmp_path: Path) -> None:
    plot_forecast(rate[:2], START, [300, 600], "title", tmp_path / "f.png")
    image = np.asarray(Image.open(tmp_path / "f.png"))
    wet, unknown = colour_share(image, rain_colours()[0](5)), colour_share(image, NODATA)  # type: ignore[arg-type]
    assert wet > 0.1
    assert wet == pytest.approx(unknown, rel=0.15)


def test_an_animation_has_a_picture_a_lead_time(rate: np.ndarray, tmp_path: Path) -> None:
    plot_forecast(rate, START, [300, 600, 900], "title", tmp_path / "f.gif")
    with Image.open(tmp_path / "f.gif") as movie:
        pictures = [np.asarray(picture.convert("RGB")) for picture in ImageSequence.Iterator(movie)]
    assert len(pictures) == 3
    assert colour_share(pictures[0], NODATA) > 0.1
    assert colour_share(pictures[2], NODATA) < 0.01


def test_a_single_wet_pixel_of_a_continent_is_seen(tmp_path: Path) -> None:
    rate = np.zeros((1, 1300, 1700), dtype=np.float32)
    rate[0, 700, 801] = 7
    plot_forecast(rate, START, [300], "title", tmp_path / "wet.png")
    plot_forecast(rate * 0, START, [300], "title", tmp_path / "dry.png")
    wet, dry = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("wet.png", "dry.png"))
    assert (np.abs(wet - dry).max(axis=-1) > 50).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dry.png", "wet.png"]
