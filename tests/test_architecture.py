"""Imports point down the house, neighbours do not know each other, and nothing grows out of hand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nowcast"

# From the ground up; a part may import from lower floors, and from itself.
FLOORS: list[set[str]] = [
    {"contracts", "catalogue", "scaling", "quiet", "norms"},
    {
        "attention",
        "motion",
        "losses",
        "likelihoods",
        "lessons",
        "data",
        "baselines",
        "verification",
        "checkpoints",
        "processes",
    },
    {"models", "tiling", "lagged", "inert"},
    {"training", "products", "labelled", "pysteps_method"},
    {"trained", "forecasting", "verifying", "callbacks", "memory", "watching"},
    {"exported"},
    {"benchmarking", "sources"},
    {
        "report",
        "program",
        "train",
        "forecast",
        "verify",
        "synthesize",
        "ingest",
        "benchmark",
        "export",
        "dashboard",
        "__main__",
        "__init__",
    },
]
NEIGHBOURS_ALLOWED = {
    ("baselines", "motion"),
    ("likelihoods", "losses"),
    ("scaling", "contracts"),
    ("catalogue", "contracts"),
    ("callbacks", "report"),  # which imports nothing of what is trained
}
PROGRAMS = {"train", "forecast", "verify", "synthesize", "ingest", "benchmark", "export", "dashboard", "__main__"}


def part(path: Path) -> str:
    """The part of the house a file belongs to: a folder, or a file at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of nowcast that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names if node.module == "nowcast"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("nowcast.")}
    return found & set().union(*FLOORS)


def floor(name: str) -> int:
    (level,) = [level for level, names in enumerate(FLOORS) if name in names]
    return level


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = part(path)
    for other in imported(path) - {own}:
        below = floor(other) < floor(own)
        top = own in PROGRAMS and other in {"program", "report"}
        assert below or top or (own, other) in NEIGHBOURS_ALLOWED, f"{own} must not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_reports_need_no_torch() -> None:
    script = "import sys, nowcast.report.maps, nowcast.report.skill; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_contracts_fit_on_a_page() -> None:
    assert len((PACKAGE / "contracts.py").read_text().splitlines()) < 100
