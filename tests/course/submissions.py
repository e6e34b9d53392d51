"""Submissions made from the master of an assignment."""

import nbformat
from nbformat import NotebookNode

from book.course.masters import blocks, masters, questions
from book.course.submission import Assignment
from book.tools.paths import MASTERS

NAMES = [path.stem for path in masters()]


def blank(assignment: Assignment) -> NotebookNode:
    """The notebook that students get."""
    return nbformat.read(assignment.notebook, as_version=4)


def submission(assignment: Assignment, replace: dict[str, str]) -> NotebookNode:
    """The solution as a student would hand it in, but with other code for some questions."""
    notebook = nbformat.read(MASTERS / f"{assignment.name}.ipynb", as_version=4)
    new, cells, question, left = nbformat.v4, [], "", dict(replace)
    for inside, cell in blocks(notebook):
        if cell.cell_type == "raw":
            head = cell.source.partition("\n")[0]
            if "BEGIN QUESTION" in head:
                question = questions(new.new_notebook(cells=[cell]))[0]["name"]
            if "END TESTS" in head:
                cells.append(new.new_code_cell(f'grader.check("{question}")'))
        elif "TESTS" in inside:
            continue
        elif question in replace and "SOLUTION" in inside and "SOLUTION" in cell.source:
            cells += [new.new_code_cell(left.pop(question))] if question in left else []
        else:
            cells.append(new.new_code_cell(cell.source) if cell.cell_type == "code" else cell)
    assert left == {}, f"no question with a solution of its own: {', '.join(left)}"
    made = new.new_notebook(cells=cells)
    made.metadata = blank(assignment).metadata
    return made


def filled_in(assignment: Assignment) -> NotebookNode:
    """The solution with the cells that every student's notebook begins and ends with."""
    notebook, code = submission(assignment, {}), blank(assignment).cells
    prepare = next(cell for cell in code if "Grader(get_ipython()" in cell.source)
    notebook.cells = [notebook.cells[0], prepare, *notebook.cells[1:], code[-1]]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"solved-{number}"
    return notebook
