"""The commands of README.md work as they stand there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from nowcast.data.archive import write_archive
from tests.conftest import moving_rain
from tests.programs import ROOT, Outcome, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("python -m ")]


def test_two_single_lines_install_and_run_all() -> None:
    first, second = (block for block in BLOCKS if "pip install" in block)
    for line in (first, second):
        assert line.count("\n") == 1
        assert "-c constraints.txt" in line
    assert "nowcast.train --config configs/quickstart.yaml" in first
    assert "pytest" in second
    assert re.search(r"^torch==2\.13\.0$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)


def test_the_gate_runs_the_second_line() -> None:
    assert "<!-- tests -->" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"<!-- tests -->\n```bash\n.*pytest -n auto\n```", README)


def test_files_that_it_names_exist() -> None:
    for path in re.findall(r"\]\((?!http)([\w/.]+)\)", README) + re.findall(r"configs/[\w/]+\.yaml", README):
        assert (ROOT / path).exists(), path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and, as runs/real, a network trained on it for a moment."""
    place = tmp_path_factory.mktemp("readme")
    write_archive(moving_rain(frames=20, height=32, width=40), place / "archive.nc")
    config = {
        "seed_everything": 1,
        "run": str(place / "runs" / "real"),
        "data": {
            **{split: [str(place / "archive.nc")] for split in ("train", "val", "test")},
            "window": {"past_frames": 2, "steps": 12, "step_minutes": 5},
            "crops": {"size": 32, "samples": 4, "every": 4},
            "loading": {"batch_size": 4, "cache": None},
        },
        "model": {
            "network": {"class_path": "nowcast.models.se_resunet.SEResUNet", "init_args": {"width": 8, "depth": 1}}
        },
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
    }
    (place / "tiny.yaml").write_text(yaml.safe_dump(config))
    trained = run("nowcast.train", "--config", place / "tiny.yaml")
    assert trained.returncode == 0, trained.stderr
    return place


def as_written(line: str, place: Path) -> Outcome:
    """Run a line of the README, with the reader's own files in the place of capitals and outputs under `place`."""
    words = shlex.split(line)[2:]
    for wanted, given in {"ARCHIVE": "archive.nc", "FOLDER": "", "FILES/**": "*.nc"}.items():
        words = [str(place / given) if word == wanted else word for word in words]
    ours = re.compile(r"[\w/]+(\.nc|\.ckpt|\.zarr|\.pt2)|skill|data/synthetic|images/|runs")
    outputs = [f"{place}/{word}" if ours.fullmatch(word) else word for word in words]
    if words[0] in ("nowcast.train", "nowcast.benchmark"):
        outputs.append("--print_config")
    if words[0] == "nowcast.synthesize":
        outputs += ["--events", "1", "--frames", "2"]
    return run(*outputs)


@pytest.mark.parametrize("line", LINES)
def test_a_command_works_as_it_is_written(line: str, place: Path) -> None:
    done = as_written(line, place)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
