"""Every assignment: its solution, the empty notebook, and the typical mistakes."""

import re
import zipfile

import nbformat
import pytest
import yaml

from book.course.masters import mistakes
from book.tools.paths import MASTERS
from tests.course.submissions import NAMES, blank, submission


def touched(mistake) -> set[str]:
    return {*mistake["replace"], *mistake["points"]}


def batches(mistakes) -> list[list[dict]]:
    """Few notebooks with many mistakes: those of one notebook touch different questions."""
    found: list[list[dict]] = []
    for mistake in mistakes:
        free = (b for b in found if not touched(mistake) & {q for m in b for q in touched(m)})
        batch = next(free, None)
        if batch is None:
            found.append([mistake])
        else:
            batch.append(mistake)
    return found


@pytest.fixture(scope="module", params=NAMES)
def graded(request, assignments, lightly_graded):
    """An assignment, the batches of its mistakes, and what each variant of it got."""
    assignment = assignments[request.param]
    found = batches(mistakes(MASTERS / f"{request.param}.ipynb")["mistakes"])
    variants = {"solution": submission(assignment, {}), "empty": blank(assignment)}
    for number, batch in enumerate(found):
        code = {name: code for mistake in batch for name, code in mistake["replace"].items()}
        variants[f"batch-{number}"] = submission(assignment, code)
    return assignment, found, lightly_graded(assignment, variants)


def points(result):
    return {name: question["points"] for name, question in result.items()}


def test_the_solution_gets_all_points(graded):
    assignment, _, got = graded
    assert points(got["solution"]) == pytest.approx(assignment.points)


def test_the_empty_notebook_gets_none(graded):
    assignment, _, got = graded
    assert points(got["empty"]) == dict.fromkeys(assignment.points, 0)


def test_a_typical_mistake_gets_its_points_and_leaves_the_rest(graded):
    assignment, found, got = graded
    assert sum(map(len, found)) >= 3
    for number, batch in enumerate(found):
        expected = dict(assignment.points)
        for mistake in batch:
            assert assignment.points | mistake["points"] != assignment.points, mistake["name"]
            expected |= mistake["points"]
        names = [mistake["name"] for mistake in batch]
        assert points(got[f"batch-{number}"]) == pytest.approx(expected), names


def test_the_visible_check_tells_what_the_mistake_was(graded):
    _, found, got = graded
    for number, batch in enumerate(found):
        for mistake in (mistake for mistake in batch if "says" in mistake):
            result = got[f"batch-{number}"]
            said = " ".join(result[name]["says"] for name in touched(mistake))
            assert mistake["says"] in " ".join(said.split()), mistake["name"]
            before = " ".join(got["solution"][name]["says"] for name in touched(mistake))
            assert mistake["says"] not in before, mistake["name"]


@pytest.mark.parametrize("name", NAMES)
def test_the_minutes_are_the_same_everywhere_and_fit_an_evening(name):
    master = MASTERS / f"{name}.ipynb"
    minutes = mistakes(master)["minutes"]
    assert 60 <= minutes <= 180
    prose = [
        c.source for c in nbformat.read(master, as_version=4).cells if c.cell_type == "markdown"
    ]
    assert re.search(rf"\b{minutes} minutes\b", prose[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_master_is_committed_without_outputs(name):
    for cell in nbformat.read(MASTERS / f"{name}.ipynb", as_version=4).cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


def test_the_autograder_tells_gradescope_what_to_install(assignments):
    for assignment in assignments.values():
        with zipfile.ZipFile(assignment.autograder) as archive:
            assert {"run_autograder", "setup.sh"} <= set(archive.namelist())
            environment = yaml.safe_load(archive.read("environment.yml"))
        wanted = environment["dependencies"][-1]["pip"]
        assert any(line.startswith("mrdcae-lite[notebooks] @ git+https://") for line in wanted)
