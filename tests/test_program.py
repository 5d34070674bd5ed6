"""Programs: a mistake is one line and exit code 2; a failure of ours is a trace and exit code 1."""

import pytest

from nowcast.contracts import InputError
from nowcast.program import run


def greet(name: str, times: int = 1, polite: bool = True, last_word: str = "") -> None:
    """Say hello.

    Args:
        name: of whom.
        times: how often.
        polite: whether to be.
        last_word: what follows.
    """
    if name == "nobody":
        raise InputError("nobody cannot be greeted; name somebody")
    if times < 0:
        raise ZeroDivisionError("ours")
    print(f"hello {name}" * times + last_word)


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(greet, arguments)
    return int(caught.value.code), capsys.readouterr().err


def test_a_good_command_line_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(greet, ["--name", "you", "--times", "2"])
    assert capsys.readouterr().out == "hello youhello you\n"


@pytest.mark.parametrize("last", [["--last-word=-c-d"], ["--last-word", "e-f"], ["--last_word", "g-h"]])
def test_options_may_be_written_with_dashes(capsys: pytest.CaptureFixture[str], last: list[str]) -> None:
    run(greet, ["--name", "you-too", *last])
    assert capsys.readouterr().out == "hello you-too" + last[-1].removeprefix("--last-word=") + "\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "nobody"], "nobody cannot be greeted"),
        (["--name", "you", "--tmies", "2"], "no option is called 'tmies'; did you mean times?"),
        (["--name", "you", "--times", "many"], "times"),
        ([], "name"),
    ],
)
def test_a_mistake_is_told_in_a_line_or_two(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, error = outcome(capsys, *arguments)
    assert code == 2
    assert said in error
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) <= 2
    assert "usage" not in error.lower()
    assert "Traceback" not in error


def test_our_own_failures_show_where_and_exit_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = outcome(capsys, "--name", "you", "--times", "-1")
    assert code == 1
    assert "ZeroDivisionError: ours" in error
