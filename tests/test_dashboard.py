"""`python -m nowcast.dashboard`: a page of runs, TensorBoard beside it, and short words where that cannot be."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.programs import ROOT, run
from tests.report.run_folders import write_run, write_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"))


def test_it_writes_a_page_of_all_folders_and_says_where(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "mine" / "single", "cbam", 0.1)
    got = run("nowcast.dashboard", tmp_path / "mine", folder)
    assert got.returncode == 0, got.stderr
    assert got.stdout == f"the page is {tmp_path / 'mine' / 'index.html'}\n"
    page = (tmp_path / "mine" / "index.html").read_text()
    assert "cbam" in page
    assert "squeeze" in page
    assert [path.name for path in (tmp_path / "mine").iterdir() if path.is_file()] == ["index.html"]


MISTAKES = {
    "no folder": ([], "runs"),
    "a missing folder": (["nowhere"], "nowhere is no folder"),
    "an impossible time": ([".", "--watch", "0"], "a number of seconds above 0, not 0"),
    "an unknown option": ([".", "--tensorbord"], "did you mean"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_line(mistake: str) -> None:
    words, said = MISTAKES[mistake]
    got = run("nowcast.dashboard", *words)
    assert got.returncode == 2
    assert said in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_told(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        got = run("nowcast.dashboard", folder, "--tensorboard", "--port", port)
    assert got.returncode == 2
    assert f"port {port} is not free" in got.stderr
    assert "--port" in got.stderr


def wait(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_tensorboard_runs_as_long_as_the_program_and_the_page_follows_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "first", "se", 0.001)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = ["nowcast.dashboard", str(tmp_path), "--tensorboard", "--port", str(port), "--watch", "0.2"]
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        assert re.search(rf"http://localhost:{port}/", lines[2]), lines
        with urllib.request.urlopen(f"http://localhost:{port}/data/plugins_listing") as answer:
            assert b"scalars" in answer.read()
        write_run(tmp_path / "second", "eca", 0.002)
        wait(lambda: "second" in (tmp_path / "index.html").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.stdout.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", port)) != 0
