"""Runs programs of nowcast as a user does, without the seconds that a new process takes."""

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a program printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def run(program: str, *arguments: object) -> Outcome:
    """What `python -m program arguments` does in the repository's folder."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for module in (program, f"{program}.__main__"):  # a test may have imported it
            patch.delitem(sys.modules, module, raising=False)
        patch.setattr(sys, "argv", [program, *map(str, arguments)])
        patch.chdir(ROOT)
        try:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())
