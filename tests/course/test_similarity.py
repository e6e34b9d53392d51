"""Who copied is named, who had the same task is not."""

import nbformat
import pytest

from book.command import UserError
from book.course import similarity
from tests.course.submissions import blank, submission

OTHER = """
def mse(first, second):
    total = 0.0
    for a, b in zip(np.ravel(first), np.ravel(second)):
        total += (float(a) - float(b)) ** 2
    return total / np.size(first)
"""


@pytest.fixture
def folder(assignments, tmp_path):
    metrics, place = assignments["metrics"], tmp_path / "in"
    ada = submission(metrics, {})
    bob = submission(metrics, {})
    for cell in bob.cells:
        cell.source = cell.source.replace("error", "difference").replace("window", "part")
    own = blank(metrics)
    answer = next(cell for cell in own.cells if "def mse(" in cell.source)
    answer.source = OTHER
    place.mkdir()
    for name, notebook in {"ada": ada, "bob": bob, "eve": own, "max": blank(metrics)}.items():
        nbformat.write(notebook, place / f"{name}.ipynb")
    nbformat.write(blank(metrics), place / "<b>.ipynb")
    (place / "notes.txt").write_text("no notebook")
    return place


def test_a_copy_with_other_names_is_found_and_the_task_itself_is_not(
    assignments, folder, tmp_path, capsys
):
    page = tmp_path / "similar.html"
    found = similarity.compare(folder, assignments["metrics"], page)
    assert [pair for _, *pair in found] == [["ada.ipynb", "bob.ipynb"]]
    assert found[0][0] > 0.9
    assert "left out: notes.txt" in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert "ada.ipynb" in text
    assert "<b>.ipynb" not in text
    assert str(folder.parent) not in text


def test_one_notebook_cannot_be_compared(assignments, tmp_path):
    nbformat.write(blank(assignments["metrics"]), tmp_path / "ada.ipynb")
    with pytest.raises(UserError, match="at least two"):
        similarity.compare(tmp_path, assignments["metrics"], tmp_path / "page.html")
