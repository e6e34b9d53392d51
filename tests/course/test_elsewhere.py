"""A student's notebook on Colab, renamed, copied, alone: its checks run, and it is handed in."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest

from tests.course.submissions import NAMES, blank, filled_in

STAND_IN = Path(__file__).with_name("elsewhere.py")
CHECKED = re.compile(r'^grader\.check\("(.+)"\)$')


@pytest.fixture
def opened(request):
    """Runs a notebook, which lies elsewhere, in a folder; returns what its cells said."""
    python = request.config.getoption("--elsewhere")

    def run(place, notebook, folder, *, named=None):
        source = folder.parent / "Drive.ipynb"
        nbformat.write(notebook, source)
        command = [python, str(STAND_IN), place, str(source)]
        command += ["--named", str(named)] if named else []
        kept = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {"MPLBACKEND": "agg"}
        done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def said_of_checks(cells):
    found = {m[1]: c["said"] for c in cells if (m := CHECKED.match(c["source"]))}
    return {name: text.strip() for name, text in found.items()}


@pytest.fixture
def content(tmp_path):
    """Colab's working folder, which holds nothing of the course."""
    (tmp_path / "content" / "sample_data").mkdir(parents=True)
    return tmp_path / "content"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_colab_with_nothing_beside_it(opened, assignments, name, content):
    cells = opened("colab", blank(assignments[name]), content)
    prepared = next(cell for cell in cells if "Grader(get_ipython()" in cell["source"])
    assert prepared["error"] is None
    checked = said_of_checks(cells)
    assert checked.keys() == assignments[name].points.keys()
    for question, text in checked.items():
        assert text.startswith(f"{question}: not yet. "), text
    assert "Download .ipynb" in cells[-1]["said"]
    assert cells[-1]["error"] is None


@pytest.mark.parametrize("name", NAMES)
def test_a_solved_notebook_passes_all_its_checks_on_colab(opened, assignments, name, content):
    cells = opened("colab", filled_in(assignments[name]), content)
    assert [cell for cell in cells if cell["error"]] == []
    for question, text in said_of_checks(cells).items():
        assert text == f"{question}: passed. Further tests run when your work is graded."


def test_a_renamed_copy_beside_its_original_is_what_is_handed_in(opened, assignments, content):
    metrics = assignments["metrics"]
    shutil.copy(metrics.notebook, content / "metrics.ipynb")
    copy = content / "metrics (1).ipynb"
    solved = filled_in(metrics)
    nbformat.write(solved, copy)
    cells = opened("jupyter", solved, content, named=copy)
    assert cells[-1]["said"].startswith("Hand in metrics (1).ipynb; it holds what you ran.")


def test_work_that_is_not_saved_is_named_before_it_is_handed_in(opened, assignments, content):
    metrics = assignments["metrics"]
    place = content / "Copy of metrics.ipynb"
    shutil.copy(metrics.notebook, place)
    cells = opened("jupyter", filled_in(metrics), content, named=place)
    assert cells[-1]["said"].startswith("Not saved yet: ")
    assert "in Copy of metrics.ipynb" in cells[-1]["said"]


def test_where_the_file_is_not_known_that_is_said(opened, assignments, content):
    gone = content / "renamed-since.ipynb"
    cells = opened("jupyter", blank(assignments["metrics"]), content, named=gone)
    assert "Its name cannot be seen from here" in cells[-1]["said"]


def test_two_assignments_in_one_folder_do_not_meet(opened, assignments, content):
    for name in ("metrics", "entropy"):  # each has a question called quantise
        said = said_of_checks(opened("jupyter", blank(assignments[name]), content))
        assert said.keys() == assignments[name].points.keys()
    assert [path.name for path in content.iterdir()] == ["sample_data"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_carries_what_its_archive_shows_beside_it(assignments, name):
    sources = [cell.source for cell in blank(assignments[name]).cells]
    packed = next(m[1] for s in sources if (m := re.search(r'b64decode\("([\w+/=]+)"', s)))
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as carried:
        inside = {n: carried.read(n) for n in carried.namelist() if n != "checks.py"}
    with zipfile.ZipFile(assignments[name].student) as archive:
        beside = {n: archive.read(n) for n in archive.namelist() if n != f"{name}.ipynb"}
    assert inside == beside
