"""Skill as table, CSV and picture: no number is lost or misplaced, and files are whole or absent."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from rich.console import Console

from nowcast.report.skill import COLOURS, SkillTable, plot_skill, write_skill_csv
from nowcast.verification import by_forecast, standard_scores


def skill_of(names: tuple[str, ...] = ("good", "bad"), events: bool = True) -> xr.Dataset:
    """Forecasts that are each worse than the one before, of three lead times and three thresholds."""
    random = np.random.default_rng(0)
    observed = random.gamma(0.5, 6, (2, 3, 1, 20, 30)) if events else np.zeros((2, 3, 1, 20, 30))
    computed = {}
    for error, name in enumerate(names):
        scores = standard_scores([5, 30, 60], (0.1, 1, 5))
        forecast = observed * random.lognormal(0, 0.3 + 0.7 * error, observed.shape)
        scores.update(torch.from_numpy(forecast), torch.from_numpy(observed))
        computed[name] = scores.compute()
    return by_forecast(computed)


def printed(skill: xr.Dataset, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(SkillTable(skill))
    return console.file.getvalue()


def test_a_wide_table_has_each_lead_time_on_one_line() -> None:
    skill = skill_of()
    lines = [line.split() for line in printed(skill, 160).splitlines()]
    for number in range(2):
        for lead in skill.lead_time.values:
            at = skill.isel(forecast=number).sel(lead_time=lead)
            line = [f"{lead:g}", f"{at.mae:.3f}", f"{at.rmse:.3f}", f"{at.bias:+.3f}"]
            line.append(f"{100 * at.missing_share:.1f}")
            for event in (at.sel(threshold=threshold) for threshold in skill.threshold.values):
                line += [f"{event.csi:.3f}", f"{event.pod:.3f}", f"{event.far:.3f}"]
                line.append(f"{event.frequency_bias:.2f}")
            assert line in lines


def test_a_narrow_table_loses_no_number() -> None:
    skill = skill_of()
    wide, narrow = (sorted(printed(skill, width).split()) for width in (160, 80))
    lead_times = {"5", "30", "60"}
    for word in {word for word in wide if word[-1].isdigit()} - lead_times:
        assert narrow.count(word) == wide.count(word), word
    assert max(len(line) for line in printed(skill, 80).splitlines()) <= 80


def test_what_cannot_be_scored_is_a_dash() -> None:
    text = printed(skill_of(events=False), 160)
    assert "nan" not in text
    assert text.count("–") == 2 * 3 * 3 * 4


def test_a_name_is_not_taken_for_markup() -> None:
    assert "[red]net[/red] (a.nc), 2 forecasts" in printed(skill_of(("[red]net[/red] (a.nc)",)), 160)


def test_csv_is_tidy_and_complete(tmp_path: Path) -> None:
    skill = skill_of(("good, really", "bad"))
    write_skill_csv(skill, tmp_path / "skill.csv")
    with open(tmp_path / "skill.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["forecast", "lead_time_min", "threshold", "score", "value", "cases"]
    found = {tuple(row[:4]): row[4] for row in rows[1:]}
    assert len(found) == len(rows) - 1 == 2 * 3 * (6 + 7 * 3)
    assert {row[5] for row in rows[1:]} == {"2"}
    assert found["good, really", "30", "", "pixel_count"] == "1200"
    csi = skill.csi.sel(forecast="bad", lead_time=60, threshold=5)
    assert float(found["bad", "60", "5", "csi"]) == pytest.approx(float(csi), rel=1e-7)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    for name, write in {"skill.csv": write_skill_csv, "skill.png": plot_skill}.items():
        (tmp_path / name).write_text("the old one")
        broken = skill_of().drop_vars("csi").assign(last=("lead_time", ["not", "a", "number"]))
        with pytest.raises((ValueError, AttributeError)):
            write(broken, tmp_path / name)
        assert (tmp_path / name).read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["skill.csv", "skill.png"]


def heights(image: np.ndarray, colour: str) -> float:
    """Mean row, from the top, of the pixels of a colour."""
    rows = np.nonzero(np.abs(image[..., :3] - to_rgb(colour)).max(axis=-1) < 0.01)[0]
    assert len(rows) > 50, "the curve is not there"
    return float(rows.mean())


def test_curves_show_which_forecast_is_better(tmp_path: Path) -> None:
    """The first panel is an error, where lower is better; in the three of CSI higher is better."""
    plot_skill(skill_of(), tmp_path / "skill.png")
    image = imread(tmp_path / "skill.png")
    rows, columns = image.shape[0] * 9 // 20, image.shape[1] // 2
    panels = [image[:rows, :columns], image[:rows, columns:]]
    panels += [image[rows : 2 * rows, :columns], image[rows : 2 * rows, columns:]]
    for number, panel in enumerate(panels):
        good, bad = (heights(panel, colour) for colour in COLOURS[:2])
        assert (good > bad) == (number == 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("events", [True, False])
def test_odd_names_many_forecasts_and_no_events_are_drawn(tmp_path: Path, events: bool) -> None:
    names = (r"run$1\frac{", "_hidden", *(f"a very long name of a forecast, number {k}" for k in range(22)))
    plot_skill(skill_of(names, events), tmp_path / "skill.png")
    assert (tmp_path / "skill.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["skill.png"]
