"""The page of runs says what run folders hold, whatever state they are in, and runs no one else's script."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from nowcast.report.runs.folder import ALIVE_S, find_runs, read_run, read_runs
from nowcast.report.runs.page import MOST_POINTS, render, thinned, write_page
from nowcast.report.runs.table import differing, table
from tests.report.run_folders import GATES, HOSTILE, STEPS, loss, write_run, write_runs
from tests.report.test_html import Elements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def elements(folder: Path) -> Elements:
    return Elements(write_page([folder]))


def by_name(folder: Path) -> dict:
    return {run.name: run for run in read_runs([folder])}


def rows(elements: Elements) -> dict[str, list[dict]]:
    """Cells of the table by name of the run."""
    found: dict[str, list[dict]] = {}
    for one in elements.all:
        if one["tag"] == "th" and one["attributes"].get("scope") == "row":
            cells = found.setdefault(one["attributes"]["data-value"], [])
        elif one["tag"] == "td":
            cells.append(one)
    return found


def heads(elements: Elements) -> list[str]:
    return [one["text"].strip() for one in elements.named("th") if one["attributes"].get("scope") == "col"][1:]


def test_the_page_is_made_without_torch() -> None:
    script = "import sys, nowcast.report.runs.page, nowcast.report.runs.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_run_is_a_row_with_its_state(elements: Elements) -> None:
    states = {name: cells[0]["text"] for name, cells in rows(elements).items()}
    assert states == {**dict.fromkeys(GATES, "finished"), "broken": "broken", "half": "broken"}


def test_cells_are_what_the_files_hold(elements: Elements) -> None:
    cells = dict(zip(heads(elements), (cell["text"] for cell in rows(elements)["squeeze"]), strict=True))
    assert cells["epochsdone"] == "2 / 2"
    assert cells["stepsdone"] == f"{STEPS}"
    assert cells["val_losslast"] == cells["val_lossbest"] == "0.39"
    assert cells["test MAE30 min, mm/h"] == "1.1persistence 1.3"
    assert cells["test MAE60 min, mm/h"] == "1.4persistence 1.6"
    assert cells["test CSI60 min, ≥ 1 mm/h"] == "0.4persistence 0.2"
    assert cells["windows / smedian"] == "100.5"
    assert cells["duration"] == "1 h 02 min"
    assert cells["attention"] == "se"
    assert cells["learning_rate"] == "0.002"


def test_only_what_differs_between_configs_has_columns(folder: Path) -> None:
    keys = differing(read_runs([folder]))
    assert sorted(keys) == ["model.learning_rate", "model.network.init_args.attention"]
    columns, cells = table([run for run in read_runs([folder]) if run.name == "plain"])
    assert not any(column.differs for column in columns)
    assert len(cells[0]) == len(columns)


def test_keys_with_the_same_end_are_told_apart(folder: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        run = write_run(tmp_path / str(number), "se", 0.001)
        (run / "config.yaml").write_text(
            json.dumps({"data": {"size": number}, "model": {"init_args": {"size": number}}})
        )
    columns, _ = table(read_runs([tmp_path]))
    assert [column.head for column in columns if column.differs] == ["data.size", "model.size"]


def test_classes_are_called_by_their_names(tmp_path: Path) -> None:
    for name in ("convlstm.ConvLSTM", "ccnet.CCNet"):
        run = write_run(tmp_path / name, "se", 0.001)
        model = {"network": {"class_path": f"nowcast.models.{name}"}, "note": "one.two"}
        (run / "config.yaml").write_text(json.dumps({"model": model}))
    _, rows = table(read_runs([tmp_path]))
    assert {row[-1].text for row in rows} == {"ConvLSTM", "CCNet"}


def test_names_and_configs_are_text_in_the_page(folder: Path, elements: Elements) -> None:
    raw = (folder / "index.html").read_text()
    assert HOSTILE not in raw
    assert "<b>eca</b>" not in raw
    scripts = elements.named("script")
    assert len(scripts) == 3
    assert [run["name"] for run in elements.json("runs-data")].count(HOSTILE) == 1
    assert any(one["text"] == "<b>eca</b>" for one in elements.named("td"))


def test_the_page_refers_to_run_folders_only(folder: Path, elements: Elements) -> None:
    links = [one["attributes"]["href"] for one in elements.named("a") if not one["attributes"]["href"].startswith("#")]
    targets = {str((folder / unquote(link)).relative_to(folder)) for link in links}
    assert targets == {
        *(f"{name}/{file}" for name in (*GATES, "half") for file in ("config.yaml", "model_card.md")),
        "broken/config.yaml",
    }
    assert all((folder / target).exists() for target in targets)
    outside = [one["attributes"].get("src") for one in elements.all if one["tag"] in ("script", "img", "link")]
    assert not any(outside)


def test_the_newest_sample_of_a_run_is_in_the_page(folder: Path, elements: Elements) -> None:
    (run,) = (run for run in elements.json("runs-data") if run["name"] == "squeeze")
    assert run["epoch"] == "10"
    picture = base64.b64decode(run["sample"].removeprefix("data:image/png;base64,"))
    assert picture == (folder / "squeeze" / "samples" / "epoch_0010.png").read_bytes()


def test_curves_keep_their_mean_and_their_end_when_thinned(elements: Elements) -> None:
    (run,) = (run for run in elements.json("runs-data") if run["name"] == "plain")
    steps, values = run["curves"]["loss"]
    assert len(steps) == len(values) <= MOST_POINTS
    assert steps[-1] == STEPS - 1
    assert values[0] == pytest.approx(sum(loss(step, 0) for step in range(3)) / 3, rel=1e-4)
    assert run["leads"]["val_csi_1"] == [[5, 0.2], [30, 0.033333], [60, 0.016667]]
    assert thinned(([0.0, 1.0], [3.0, 4.0]), most=2) == ([0.0, 1.0], [3.0, 4.0])


def test_half_a_line_of_curves_is_no_trouble(folder: Path) -> None:
    half = by_name(folder)["half"]
    assert half.problems[0].startswith("run.json cannot be read")
    assert len(half.problems) == 1
    assert 300 < len(half.curves["loss"][0]) < STEPS


JUNK = {
    "config.yaml": ["", "- a\n- b", "a: [", "\x00\x01", "!!python/object:os.system {}"],
    "metrics.csv": ["", "step,loss\n", "\x00" * 500, "no csv", 'step,loss\n"1', "step,loss\n1,2,3,4\n"],
    "run.json": ["", "{", "[]", "null", '{"state": 3, "epochs": "x", "seconds": null}'],
    "skill.csv": ["", "forecast\n1\n", "forecast,lead_time_min,threshold,score,value,cases\nx,y,z,w,1,2\n"],
    "model_card.md": ["", "\x00", "| <i> |"],
}


@pytest.mark.parametrize("file", JUNK)
def test_whatever_a_file_holds_the_page_is_made(file: str, tmp_path: Path) -> None:
    for number, junk in enumerate(JUNK[file]):
        run = write_run(tmp_path / str(number), "se", 0.001)
        (run / file).write_text(junk)
    (write_run(tmp_path / "bytes", "se", 0.001) / file).write_bytes(b"\xff\xfe\x00\xd8" * 9)
    (write_run(tmp_path / "gone", "se", 0.001) / file).unlink()
    runs = {run.name: run for run in read_runs([tmp_path])}
    assert len(runs) == len(JUNK[file]) + 2
    assert runs["bytes"].state == "broken"
    assert file in runs["bytes"].problems[0]
    assert len(Elements(write_page([tmp_path])).named("details")) == len(runs) + 1


def test_state_follows_from_the_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "se", 0.001)

    def state(**said: object) -> str:
        (run / "run.json").write_text(json.dumps(said))
        return read_run(run, "run").state

    assert state(state="finished") == "finished"
    assert state(state="running") == "running"
    assert state(state="failed", error="the disk is full") == "failed"
    assert read_run(run, "run").problems == ("the disk is full",)
    state(state="running")
    for path in run.iterdir():
        os.utime(path, (time.time() - ALIVE_S - 5,) * 2)
    assert read_run(run, "run").state == "stopped"
    (run / "run.json").unlink()
    assert read_run(run, "run").state == "finished"
    (run / "skill.csv").unlink()
    assert read_run(run, "run").state == "stopped"


def test_runs_are_found_at_any_depth_once_and_the_newest_comes_first(tmp_path: Path) -> None:
    old = write_run(tmp_path / "a" / "deep" / "old", "se", 0.001)
    new = write_run(tmp_path / "b" / "new", "se", 0.001)
    shutil.copytree(old, new / "checkpoints" / "copy")  # a run within a run is none
    for path in old.iterdir():
        os.utime(path, (1e9, 1e9))
    assert find_runs([tmp_path, tmp_path / "b"]) == [old, new]
    assert [run.name for run in read_runs([tmp_path / "a", tmp_path / "b"])] == ["b/new", "a/deep/old"]
    assert find_runs([old]) == [old]


def test_a_folder_without_runs_has_an_empty_page(tmp_path: Path) -> None:
    assert "0 runs" in render(read_runs([tmp_path]), tmp_path)
