"""What `make course` and the book's pages are made of."""

import shutil

import nbformat
import pytest

from book.command import UserError
from book.course import assignments as course
from book.course import grading
from book.course.leaks import squeezed
from book.course.masters import mistakes
from book.tools.paths import BOOK, MASTERS
from tests.course.submissions import NAMES, blank

new = nbformat.v4


def write_student(folder):
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "mse.py").write_text("name = 'mse'\n")
    cells = [new.new_code_cell(source) for source in ("import otter", 'find_spec("otter")', "1")]
    nbformat.write(new.new_notebook(cells=cells), folder / "metrics.ipynb")


def test_the_same_assignment_gives_students_the_same_bytes(tmp_path):
    packed = []
    for again in ("one", "two"):
        write_student(tmp_path / again)
        target = tmp_path / f"{again}.zip"
        course.archive(tmp_path / again, MASTERS / "metrics.ipynb", "abc", target)
        packed.append(target.read_bytes())
    assert packed[0] == packed[1]


def test_otter_is_installed_before_it_is_imported_and_the_notebook_has_its_mark(assignments):
    for name, assignment in assignments.items():
        made = blank(assignment)
        code = [cell.source for cell in made.cells if cell.cell_type == "code"]
        assert "otter-grader" in code[0]
        assert "otter.Notebook" in code[1]
        assert made.metadata["course"] == {"assignment": name, "version": assignment.version}


def test_the_pages_offer_every_assignment_and_give_no_code_away(assignments):
    pages = course.pages({MASTERS / f"{n}.ipynb": a.folder for n, a in assignments.items()})
    table = pages["table.md"].decode()
    wrong = squeezed(pages["mistakes.md"].decode())
    for name in NAMES:
        known = mistakes(MASTERS / f"{name}.ipynb")
        assert f"| {known['minutes']} |" in table
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
