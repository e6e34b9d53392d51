"""Masters of a school's own, and hidden tests whose numbers nobody else knows."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from book.command import UserError
from book.course import assignments as course
from book.course import masters
from book.tools import paths
from tests.course.submissions import NAMES

SECRET = "a word that no student knows"
SEED = re.compile(r"default_rng\((\d+)\)")


def seeds(notebook):
    """The seeds of the hidden tests of a master, and all others."""
    hidden, others = [], []
    for inside, cell in masters.blocks(notebook):
        of_hidden = "TESTS" in inside and masters.is_hidden(cell)
        (hidden if of_hidden else others).extend(SEED.findall(cell.source))
    return hidden, others


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_draws_the_numbers_of_hidden_tests_anew_and_of_no_other(name, monkeypatch):
    master = nbformat.read(paths.MASTERS / f"{name}.ipynb", as_version=4)
    (hidden, others), drawn = seeds(master), []
    for secret in (SECRET, SECRET, SECRET.upper()):
        monkeypatch.setenv("COURSE_SECRET", secret)
        copy = course.prepared(nbformat.from_dict(master))
        drawn.append(seeds(copy)[0])
        assert seeds(copy)[1] == others
    assert len(hidden) == len(drawn[0]) > 3
    assert drawn[0] == drawn[1]
    assert not set(hidden) & set(drawn[0])
    assert not set(drawn[0]) & set(drawn[2])


def test_an_assignment_is_made_again_with_another_secret(monkeypatch):
    master, keys = paths.MASTERS / "metrics.ipynb", set()
    for secret in ("", SECRET, SECRET.upper()):
        monkeypatch.setenv("COURSE_SECRET", secret)
        keys.add(course.key_of(master))
    assert len(keys) == 3


def test_a_secret_that_could_be_guessed_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_SECRET", "spring 2027")
    with pytest.raises(UserError, match="expected at least 16 letters in COURSE_SECRET, got 11"):
        course.key_of(paths.MASTERS / "metrics.ipynb")


def masters_with(folder):
    command = [sys.executable, "-c", "from book.course.masters import masters; print(*masters())"]
    settings = os.environ | {"COURSE_MASTERS": str(folder)}
    return subprocess.run(command, cwd=paths.ROOT, env=settings, capture_output=True, text=True)


def test_a_school_keeps_its_masters_in_a_folder_of_its_own(tmp_path):
    for name in ("photographs", "entropy", "metrics"):
        (tmp_path / f"{name}.ipynb").touch()
    found = masters_with(tmp_path).stdout.split()
    assert found == [str(tmp_path / f"{n}.ipynb") for n in ("metrics", "entropy", "photographs")]
    assert "expected masters of assignments (.ipynb) in" in masters_with(tmp_path / "no").stderr
