"""What `make course` and the book's pages are made of."""

import shutil

import pytest

from book.command import UserError
from book.course import assignments as course
from book.course import grading
from book.course.leaks import squeezed
from book.course.masters import mistakes
from book.tools import identity, paths
from book.tools.paths import BOOK, MASTERS
from tests.course.submissions import NAMES, blank


def test_the_same_files_give_the_same_archive_whenever_they_are_packed(tmp_path):
    files = {"metrics.ipynb": b"{}", "tests/mse.py": b"name = 'mse'"}
    course.pack(files, tmp_path / "one.zip")
    course.pack(dict(reversed(files.items())), tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_notebook_has_its_mark_where_it_cannot_be_lost(assignments):
    for name, assignment in assignments.items():
        made = blank(assignment)
        first = next(cell.source for cell in made.cells if cell.cell_type == "code")
        assert first.startswith(
            f"# @title Prepares this notebook: assignment {name}, version {assignment.version}\n"
        )
        assert made.metadata["otter"] == {"assignment_name": name}  # Gradescope's runner asks
        assert made.metadata["course"] == {"assignment": name, "version": assignment.version}


def test_what_colab_opens_is_what_the_masters_of_today_make(assignments):
    kept = {path.stem: path.read_bytes() for path in paths.STUDENT.glob("*.ipynb")}
    made = {name: assignment.notebook.read_bytes() for name, assignment in assignments.items()}
    assert kept == made, "run python -m book.course.assignments keep"


def test_the_pages_offer_every_assignment_and_give_no_code_away(assignments):
    pages = course.pages({MASTERS / f"{n}.ipynb": a.folder for n, a in assignments.items()})
    table = pages["table.md"].decode()
    wrong = squeezed(pages["mistakes.md"].decode())
    for name in NAMES:
        known = mistakes(MASTERS / f"{name}.ipynb")
        assert f"| {known['minutes']} |" in table
        place, ref = f"book/assignments/student/{name}.ipynb)", identity.stated().ref
        assert f"/blob/{ref}/{place}" in table
        assert f"/{ref}?urlpath=lab/tree/{place}" in table
        assert pages[f"{name}.zip"] == assignments[name].student.read_bytes()
        for mistake in known["mistakes"]:
            assert squeezed(mistake["why"]) in wrong
            for code in mistake["replace"].values():
                lines = [squeezed(line) for line in code.splitlines()]
                assert not [line for line in lines if len(line) > 20 and line in wrong]


def test_an_assignment_whose_solution_loses_points_is_refused(assignments, monkeypatch, tmp_path):
    shutil.copytree(assignments["metrics"].folder, tmp_path / "metrics")
    (tmp_path / "metrics" / "checked.json").unlink(missing_ok=True)
    points = assignments["metrics"].points | {"mse": 0.5}
    result = {"status": "graded", "points": points, "message": "failed checks: mse (1)"}
    monkeypatch.setattr(grading, "grade", lambda *_: result)
    with pytest.raises(UserError, match="its own solution must get all points"):
        course.check_solution(tmp_path / "metrics")
    assert not (tmp_path / "metrics" / "checked.json").exists()


def test_the_guide_names_every_assignment():
    guide = (BOOK / "back" / "teachers-guide.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in guide] == []
