"""Names of configs are files of a folder."""

import sys
from pathlib import Path

import pytest

from nowcast.catalogue import Catalogue
from nowcast.contracts import InputError


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A package of two members and a helper."""
    folder = tmp_path / "some_shapes"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "_help.py").write_text("raise RuntimeError('helpers have no name')")
    (folder / "circle.py").write_text(
        "__all__ = ['Circle']\nclass Other: ...\nclass Circle:\n"
        "    def __init__(self, radius, *, filled=False):\n"
        "        self.radius, self.filled = radius, filled\n"
    )
    (folder / "square.py").write_text("raise RuntimeError('nobody asked for it')")
    monkeypatch.syspath_prepend(tmp_path)
    yield Catalogue("some_shapes", "shape")
    for name in [name for name in sys.modules if name.startswith("some_shapes")]:
        del sys.modules[name]


def test_names_are_the_files_without_helpers_and_without_importing_them(shapes):
    assert shapes.names() == ["circle", "square"]


def test_a_member_is_the_class_its_file_exports(shapes):
    assert shapes.member("circle").__name__ == "Circle"


def test_arguments_and_options_arrive(shapes):
    circle = shapes.create("circle", 3, filled=True)
    assert (circle.radius, circle.filled) == (3, True)


def test_an_unknown_name_suggests_near_ones(shapes):
    with pytest.raises(InputError, match="no shape is called 'cirle'; did you mean circle"):
        shapes.module("cirle")


def test_a_name_like_no_other_lists_all(shapes):
    with pytest.raises(InputError, match="there are circle, square"):
        shapes.module("zzz")


def test_a_helper_is_no_member(shapes):
    with pytest.raises(InputError, match="no shape is called '_help'"):
        shapes.create("_help")


def test_an_unknown_option_is_named_with_those_there_are(shapes):
    with pytest.raises(InputError, match="shape circle has no option 'fill'; its options are: filled"):
        shapes.create("circle", 3, fill=True)


def test_an_argument_already_given_is_no_option(shapes):
    with pytest.raises(InputError, match="no option 'radius'"):
        shapes.create("circle", 3, radius=4)
