"""A folder of submissions as a teacher gets it: right ones, wrong ones, and hostile ones."""

import csv
import json
import zipfile
from dataclasses import replace

import nbformat
import psutil
import pytest

from book.command import UserError
from book.course import grading
from book.course import submission as child
from book.course.leaks import leaks, secrets
from book.course.masters import mistakes
from book.course.submission import Limits, RefusedError
from book.tools.paths import MASTERS
from tests.course.submissions import blank, submission

GENEROUS = Limits(seconds=3600, megabytes=2048)
MISTAKES = mistakes(MASTERS / "metrics.ipynb")["mistakes"]
DAEMON = """
import os, pathlib, psutil, time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        born = psutil.Process().create_time()
        pathlib.Path("{file}.new").write_text(f"{{os.getpid()}} {{born}}")
        os.rename("{file}.new", "{file}")
        time.sleep(10**6)
    os._exit(0)
while not pathlib.Path("{file}").exists():
    time.sleep(0.1)
"""
HOG = """
import time

kept = []
try:
    while True:
        kept.append(b"x" * 2**26)
except MemoryError:
    time.sleep(10**6)
"""


def by_name(text):
    return next(mistake for mistake in MISTAKES if text in mistake["name"])


def with_cell(notebook, code):
    notebook.cells.insert(1, nbformat.v4.new_code_cell(code))
    return notebook


def only(assignment, question):
    """The notebook of a student who solved one question and left the others."""
    done = submission(assignment, {})
    solved = next(c for c in done.cells if f"def {question}(" in c.source)
    notebook = blank(assignment)
    place = next(i for i, c in enumerate(notebook.cells) if f"def {question}(" in c.source)
    notebook.cells[place].source = solved.source
    return notebook


@pytest.fixture(scope="module")
def metrics(assignments):
    return assignments["metrics"]


@pytest.fixture(scope="module")
def folder(metrics, tmp_path_factory):
    """Thirteen submissions; the endless loop comes later."""
    place = tmp_path_factory.mktemp("submissions")
    daemon = with_cell(submission(metrics, {}), DAEMON.format(file=place.parent / "daemon.txt"))
    old = submission(metrics, {})
    old.metadata["course"] = {"assignment": "metrics", "version": "00000000"}
    files = {
        "right": submission(metrics, {}),
        "wrong": submission(metrics, by_name("bytes wrap")["replace"]),
        "empty": blank(metrics),
        "crashing": with_cell(submission(metrics, {}), "import os\n\nos._exit(1)"),
        "memory-hog": with_cell(submission(metrics, {}), HOG),
        "hard-coded": submission(metrics, by_name("numbers that fit")["replace"]),
        "syntax-error": submission(metrics, {"mse": "def mse(first, second:\n    return 0"}),
        "renamed": submission(metrics, {"mse": "def my_mse(first, second):\n    return 0"}),
        "partial": only(metrics, "mse"),
        "old-version": old,
    }
    for name, notebook in files.items():
        nbformat.write(notebook, place / f"{name}.ipynb")
    (place / "not-a-notebook.ipynb").write_text("My answers are on the other sheet.")
    with zipfile.ZipFile(place / "daemon.zip", "w") as archive:
        archive.writestr("metrics.ipynb", nbformat.writes(daemon))
    return place


@pytest.fixture(scope="module")
def table(folder, metrics):
    """The rows by file, graded in two calls: the second finds one new file, an endless loop."""
    out = folder.parent / "grades.csv"
    grading.grade_folder(folder, metrics, out, limits=GENEROUS, feedback=folder.parent / "feedback")
    first = out.read_text()
    nbformat.write(
        with_cell(submission(metrics, {}), "while True:\n    pass"), folder / "endless.ipynb"
    )
    grading.grade_folder(folder, metrics, out, limits=replace(GENEROUS, seconds=5))
    assert set(first.splitlines()) < set(out.read_text().splitlines())  # not graded a second time
    with out.open(newline="") as file:
        return {row["file"].partition(".")[0]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "status"),
    {
        "right": "graded",
        "wrong": "graded",
        "empty": "empty",
        "crashing": "crashed",
        "endless": "too slow",
        "memory-hog": "too much memory",
        "hard-coded": "graded",
        "syntax-error": "graded, with errors",
        "renamed": "graded",
        "partial": "graded",
        "old-version": "old version",
        "not-a-notebook": "not a notebook",
        "daemon": "graded",
    }.items(),
)
def test_every_submission_has_a_row_with_its_status(table, name, status):
    assert table[name]["status"] == status, table[name]["message"]


@pytest.mark.parametrize(
    ("name", "lost"),
    {
        "right": {},
        "daemon": {},
        "wrong": by_name("bytes wrap")["points"],
        "hard-coded": by_name("numbers that fit")["points"],
        "syntax-error": {"mse": 0},
        "renamed": {"mse": 0},
    }.items(),
)
def test_points_are_those_of_the_rubric(table, metrics, name, lost):
    expected = metrics.points | lost
    assert {q: float(table[name][q]) for q in metrics.points} == expected
    assert float(table[name]["total"]) == pytest.approx(sum(expected.values()))


def test_a_partial_and_an_empty_submission_get_what_they_earned(table, metrics):
    none = dict.fromkeys(metrics.points, 0.0)
    got = {n: {q: float(table[n][q]) for q in metrics.points} for n in ("partial", "empty")}
    assert got == {"partial": none | {"mse": metrics.points["mse"]}, "empty": none}


@pytest.mark.parametrize(
    "name", ["crashing", "endless", "memory-hog", "old-version", "not-a-notebook"]
)
def test_who_could_not_be_graded_gets_no_number_but_a_reason(table, metrics, name):
    assert [table[name][column] for column in (*metrics.points, "total")] == [""] * 11
    assert table[name]["message"]


def test_the_message_names_the_cell_that_failed(table):
    assert "def mse(first, second:" in table["syntax-error"]["message"]
    assert "SyntaxError" in table["syntax-error"]["message"]


def test_a_process_that_left_its_session_is_ended_with_its_submission(table, folder):
    number, born = (folder.parent / "daemon.txt").read_text().split()
    try:
        found = psutil.Process(int(number)).create_time()
    except psutil.NoSuchProcess:
        return
    assert found != float(born), "the process of daemon.zip is still there"


def test_feedback_holds_what_visible_checks_say_and_nothing_of_hidden_ones(table, folder):
    text = (folder.parent / "feedback" / "wrong.ipynb.txt").read_text()
    assert "Bytes wrap around" in text
    assert leaks([folder.parent / "feedback"], secrets(MASTERS / "metrics.ipynb")) == []


# Without a kernel: what is refused, believed, written.


def refused(metrics, notebook):
    with pytest.raises(RefusedError) as caught:
        child.refuse_strangers(notebook, metrics, blank(metrics))
    return caught.value.status, str(caught.value)


def test_a_notebook_of_another_assignment_is_refused_with_both_names(metrics):
    other = blank(metrics)
    other.metadata["course"] = {"assignment": "patches", "version": "1"}
    assert refused(metrics, other) == ("another assignment", "expected metrics, got patches")


def test_a_notebook_that_lost_its_mark_is_known_by_its_checks(metrics):
    notebook = submission(metrics, {})
    del notebook.metadata["course"]
    child.refuse_strangers(notebook, metrics, blank(metrics))
    notebook.cells.append(nbformat.v4.new_code_cell('grader.check("entropy")'))
    assert refused(metrics, notebook)[0] == "old version"
    notebook.cells = [nbformat.v4.new_code_cell("1 + 1")]
    assert refused(metrics, notebook)[0] == "another assignment"


def test_a_notebook_of_format_3_is_read_and_one_of_the_future_is_not(tmp_path):
    third = nbformat.v3.new_notebook(worksheets=[nbformat.v3.new_worksheet()])
    path = tmp_path / "third.ipynb"
    path.write_text(json.dumps(third))
    assert child.read_submission(path).nbformat == 4
    path.write_text(json.dumps({"nbformat": 9, "nbformat_minor": 0, "metadata": {}, "cells": []}))
    with pytest.raises(RefusedError, match="cannot be read as a notebook"):
        child.read_submission(path)


@pytest.mark.parametrize("names", [[], ["a.ipynb", "b.ipynb"]])
def test_a_zip_must_hold_one_notebook(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "answers.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    with pytest.raises(RefusedError, match=f"expected one .ipynb in the zip, found {len(names)}"):
        child.read_submission(tmp_path / "answers.zip")


def test_another_kind_of_file_is_no_notebook(tmp_path):
    with pytest.raises(RefusedError, match="expected .ipynb or .zip, got answers.docx"):
        child.read_submission(tmp_path / "answers.docx")


def test_a_student_may_hand_in_a_folder_with_further_files(tmp_path):
    for name in ("ada/study.ipynb", "ada/codec.py", "ada/.OTTER_LOG", "bob/notes.txt", "codec.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in grading.submissions_in(tmp_path)]
    assert found == ["ada/study.ipynb", "bob/notes.txt", "codec.py"]


def test_points_that_cannot_be_are_not_believed(metrics):
    said = {"status": "graded", "message": "", "feedback": "", "points": dict(metrics.points)}
    assert grading.understood(json.dumps(said), metrics)["status"] == "graded"
    for points in ({"mse": 100}, {"extra": 1}, {"mse": -1}):
        forged = json.dumps(said | {"points": metrics.points | points})
        assert grading.understood(forged, metrics)["status"] == "not graded"
    assert grading.understood("", metrics)["status"] == "crashed"


def test_a_message_is_one_line_and_no_formula():
    assert grading.one_line("two\n  lines\x1b[31m red") == "two lines red"
    assert grading.one_line("=HYPERLINK(0)") == "'=HYPERLINK(0)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--assignment", "cooking"], "expected the name of an assignment, got 'cooking'"),
        (["--assignment", "metrics"], "expected a folder of submissions, found none at"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(assignments, tmp_path, capsys, arguments, said):
    out = ["--out", str(tmp_path / "grades.csv")]
    assert grading.main([str(tmp_path / "nothing"), *out, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"grading: {said}")
    assert error.count("\n") == 1


def test_a_table_of_something_else_is_not_written_over(metrics, tmp_path):
    table = tmp_path / "grades.csv"
    table.write_text("name,grade\n")
    with pytest.raises(UserError, match="found other columns"):
        grading.rows_kept(table, metrics.header())
    assert table.read_text() == "name,grade\n"
