"""The program verify: what it prints and writes, how lists are given, and that mistakes leave nothing."""

import csv
from pathlib import Path

import pytest

from nowcast import baselines
from nowcast.data.archive import Archive
from nowcast.forecasting import forecast_archive, possible_starts
from nowcast.program import as_lists, run
from nowcast.verify import verify
from nowcast.verifying import verify_files


@pytest.fixture(scope="module")
def forecasts(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Persistence from every frame of the archive, three steps ahead, in two files."""
    archive, folder = Archive.open(archive_path), tmp_path_factory.mktemp("forecasts")
    starts = possible_starts(archive, 1, 5)
    paths = [str(folder / name) for name in ("all.nc", "some.nc")]
    forecast_archive(baselines.create("persistence"), archive, paths[0], starts, 3, 5)
    forecast_archive(baselines.create("persistence"), archive, paths[1], starts[2:9], 3, 5)
    return paths


def test_the_csv_holds_the_scores_and_all_is_said(
    forecasts: list[str], archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "results"
    files = ["--forecast", *forecasts, "--observed", str(archive_path), "--output", str(output)]
    run(verify, [*files, "--thresholds", "1", "5"])
    skill = verify_files(forecasts, Archive.open(archive_path), (1, 5))
    with open(output / "skill.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [name for name in skill.data_vars if name != "cases"]
    assert len(rows) == sum(skill[name].size for name in numbers)
    for row in rows:
        place = {"forecast": row["forecast"], "lead_time": float(row["lead_time_min"])}
        if row["threshold"]:
            place["threshold"] = float(row["threshold"])
        assert float(row["value"]) == pytest.approx(float(skill[row["score"]].sel(place)), rel=1e-7), row
        assert row["cases"] == "7"
    assert (output / "skill.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in output.iterdir()) == ["skill.csv", "skill.png"]
    said = capsys.readouterr().out
    assert "scored 7 of 24 initial times" in said
    for name in skill.forecast.values:
        assert f"{name}, 7 forecasts" in said
    assert f"{float(skill.mae[1, 2]):.3f}" in said


def test_results_go_beside_the_first_file_unless_told(forecasts: list[str], archive_path: Path) -> None:
    run(verify, ["--forecast", forecasts[1], "--observed", str(archive_path)])
    folder = Path(forecasts[1]).with_name("some_skill")
    assert sorted(path.name for path in folder.iterdir()) == ["skill.csv", "skill.png"]


def test_the_rule_of_pixels_is_taken(
    forecasts: list[str], archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--forecast", forecasts[0], "--observed", str(archive_path), "--output", str(tmp_path)]
    run(verify, [*files, "--pixels", "common"])
    assert "pixels observed and forecast by all" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--forecast": ["nowhere.nc"]}, "nowhere.nc does not exist"),
        ({"--forecast": []}, "--forecast names no file"),
        ({"--observed": ["nowhere.nc"]}, "nowhere.nc does not exist"),
        ({"--thresholds": ["0"]}, "above 0 mm/h"),
        ({"--thresholds": ["5", "1"]}, "thresholds in mm/h must be numbers that rise, not [5.0, 1.0]"),
        ({"--thresholds": ["heavy"]}, "heavy"),
        ({"--pixels": ["all"]}, "observed"),
        ({"--tresholds": ["1"]}, "did you mean thresholds?"),
    ],
)
def test_a_mistake_is_a_line_with_code_2_and_leaves_nothing(
    forecasts: list[str],
    archive_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, list[str]],
    said: str,
) -> None:
    options = {"--forecast": forecasts, "--observed": [str(archive_path)], "--output": [str(tmp_path / "o")]}
    with pytest.raises(SystemExit) as caught:
        run(verify, [word for option, values in (options | changes).items() for word in (option, *values)])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert said in error
    assert len(error.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_of_results(
    forecasts: list[str], archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(SystemExit) as caught:
        run(verify, ["--forecast", *forecasts, "--observed", str(archive_path), "--output", str(notes)])
    assert caught.value.code == 2
    assert "notes.txt is a file" in capsys.readouterr().err
    assert notes.read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--forecast a.nc", '--forecast ["a.nc"]'),
        ("--forecast a.nc b.nc --observed o.nc", '--forecast ["a.nc","b.nc"] --observed o.nc'),
        ("--forecast=a.nc --pixels common", '--forecast ["a.nc"] --pixels common'),
        ("--pixels common --threshold 1 2", '--pixels common --threshold ["1","2"]'),
        ("--thresholds [1,2] --help", "--thresholds [1,2] --help"),
        ("--observed o.nc p.nc", "--observed o.nc p.nc"),
    ],
)
def test_lists_may_be_given_with_spaces(given: str, read: str) -> None:
    assert [word.replace(", ", ",") for word in as_lists(given.split(), ["--forecast", "--thresholds"])] == read.split()
