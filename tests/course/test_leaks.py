"""Solutions and hidden tests stay with the teacher, and the search that says so finds them."""

import json
import shutil
import zipfile

import nbformat
import pytest

from book.command import UserError
from book.course import assignments as course
from book.course.leaks import leaks, secrets
from book.tools import paths
from tests.course.submissions import NAMES


@pytest.fixture(scope="module")
def secret():
    return {name: secrets(paths.MASTERS / f"{name}.ipynb") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_has_lines_to_keep(secret, name):
    assert len(secret[name]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_what_students_get_holds_no_line_of_it(assignments, secret, name):
    assert leaks([assignments[name].student], secret[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_students_get_the_notebook_and_visible_tests_without_outputs(assignments, name):
    with zipfile.ZipFile(assignments[name].student) as archive:
        assert not [n for n in archive.namelist() if n.endswith((".yml", ".zip", ".pkl"))]
        notebook = nbformat.reads(archive.read(f"{name}.ipynb").decode(), as_version=4)
        tests = [archive.read(n).decode() for n in archive.namelist() if n.startswith("tests/")]
    assert tests
    assert not any("hidden=True" in test or "'hidden': True" in test for test in tests)
    assert set(notebook.metadata) <= {"course", "kernelspec", "language_info", "otter"}
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_built_book_and_its_sources_hold_no_line_of_any(secret):
    every = {key: line for lines in secret.values() for key, line in lines.items()}
    built = [folder for folder in (paths.STAGE, paths.HTML) if folder.exists()]
    assert built, "expected the built book; run make book"
    assert leaks(built, every) == []


def test_the_stage_has_no_master_no_list_of_mistakes_and_no_program():
    staged = {path.relative_to(paths.STAGE) for path in paths.STAGE.rglob("*") if path.is_file()}
    assert {path.suffix for path in staged if path.parts[0] == "assignments"} == {".md", ".zip"}
    assert [path.name for path in staged if path.suffix in {".py", ".yml"}] == ["_toc.yml"]


@pytest.mark.parametrize("kind", ["html", "md", "ipynb", "metadata", "zip"])
def test_a_planted_line_is_found_by_the_same_search(secret, tmp_path, kind):
    lines = list(secret["metrics"].values())
    line = next(line for line in lines if "[" in line and "(" in line)
    cell = nbformat.v4.new_code_cell(f"x = 1\n    {line}")
    marked = nbformat.v4.new_notebook(metadata={"kept": [f"    {line}\n"]})
    planted = {
        "html": f"<span>{line.replace('(', '</span>(<b>')}</b>",
        "md": f"Prose.\n\n    {line}\n",
        "ipynb": nbformat.writes(nbformat.v4.new_notebook(cells=[cell])),
        "metadata": json.dumps(marked),
    }
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "page.zip", "w") as archive:
            archive.writestr("tests/mse.py", line)
    else:
        ending = "ipynb" if kind == "metadata" else kind
        (tmp_path / f"page.{ending}").write_text(planted[kind])
    found = leaks([tmp_path], secret["metrics"])
    assert [text.endswith(f": {line}") for text in found].count(True) == 1


def test_an_assignment_that_leaks_is_not_made(tmp_path, monkeypatch, assignments):
    good = assignments["metrics"]

    def careless(master, folder):
        for part in ("autograder", "student"):
            (folder / part).mkdir(parents=True)
            shutil.copy(good.folder / "solution.ipynb", folder / part / master.name)
        (folder / "autograder" / "tests").mkdir()
        shutil.copy(good.autograder, folder / "autograder" / "metrics-autograder_1.zip")
        return folder

    monkeypatch.setattr(course, "assign", careless)
    monkeypatch.setattr(paths, "COURSE", tmp_path)
    with pytest.raises(UserError, match="metrics: students would see"):
        course.make(paths.MASTERS / "metrics.ipynb")
    assert not list(tmp_path.rglob("metrics.zip"))
