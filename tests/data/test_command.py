"""What a script says when it cannot go on."""

import errno

import pytest

from data_scripts import DataError
from data_scripts.command import guarded


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (DataError("no picture"), 2, "no picture"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again"),
        (OSError(errno.ENOSPC, "full", "a.png"), 2, "no space left for a.png; free some and"),
        (PermissionError(errno.EACCES, "denied", "a.png"), 2, "denied: 'a.png'; mend that and"),
    ],
)
def test_a_failure_is_one_line_and_a_code(failure, code, message, capsys):
    def work():
        raise failure

    assert guarded("program", work) == code
    shown = capsys.readouterr().err
    assert shown.startswith("program: ")
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_the_work_returns_is_the_code(result, code):
    assert guarded("program", lambda: result) == code
