"""Every assignment: its solution, the empty notebook, and the typical mistakes."""

import re
import zipfile

import nbformat
import pytest
import yaml

from book import course
from tests.course.submissions import NAMES, blank, submission


@pytest.fixture(scope="module", params=NAMES)
def graded(request, assignments, lightly_graded):
    """An assignment, its typical mistakes, and what each variant of it got."""
    assignment = assignments[request.param]
    mistakes = course.mistakes(course.MASTERS / f"{request.param}.ipynb")["mistakes"]
    variants = {
        f"mistake-{i}": submission(assignment, m["replace"]) for i, m in enumerate(mistakes)
    }
    variants |= {"solution": submission(assignment, {}), "empty": blank(assignment)}
    return assignment, mistakes, lightly_graded(assignment, variants)


def points(result):
    return {name: question["points"] for name, question in result.items()}


def test_the_solution_gets_all_points(graded):
    assignment, _, got = graded
    assert points(got["solution"]) == pytest.approx(assignment.points)


def test_the_empty_notebook_gets_none(graded):
    assignment, _, got = graded
    assert points(got["empty"]) == dict.fromkeys(assignment.points, 0)


def test_a_typical_mistake_gets_its_points_and_leaves_the_rest(graded):
    assignment, mistakes, got = graded
    assert len(mistakes) >= 3
    for number, mistake in enumerate(mistakes):
        expected = assignment.points | mistake["points"]
        assert points(got[f"mistake-{number}"]) == pytest.approx(expected), mistake["name"]
        assert expected != assignment.points, mistake["name"]


def test_the_visible_check_tells_what_the_mistake_was(graded):
    _, mistakes, got = graded
    for number, mistake in enumerate(mistakes):
        said = " ".join(got[f"mistake-{number}"][name]["says"] for name in mistake["points"])
        if "says" in mistake:
            assert mistake["says"] in " ".join(said.split()), mistake["name"]
            assert mistake["says"] not in got["solution"][next(iter(mistake["points"]))]["says"]


@pytest.mark.parametrize("name", NAMES)
def test_the_minutes_are_the_same_everywhere_and_fit_an_evening(name):
    master = course.MASTERS / f"{name}.ipynb"
    minutes = course.mistakes(master)["minutes"]
    assert 60 <= minutes <= 180
    prose = [
        c.source for c in nbformat.read(master, as_version=4).cells if c.cell_type == "markdown"
    ]
    assert re.search(rf"\b{minutes} minutes\b", prose[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_master_is_committed_without_outputs(name):
    for cell in nbformat.read(course.MASTERS / f"{name}.ipynb", as_version=4).cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


def test_the_autograder_tells_gradescope_what_to_install(assignments):
    for assignment in assignments.values():
        with zipfile.ZipFile(assignment.autograder) as archive:
            assert {"run_autograder", "setup.sh"} <= set(archive.namelist())
            environment = yaml.safe_load(archive.read("environment.yml"))
        wanted = environment["dependencies"][-1]["pip"]
        assert any(line.startswith("mrdcae-lite @ git+https://") for line in wanted)
