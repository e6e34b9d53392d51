"""The masters of the assignments, as they are read.

They lie in book/assignments or, where a school keeps its own out of sight, in the folder that the
environment variable COURSE_MASTERS names.

A master is a notebook that holds question, solution, visible and hidden tests in the blocks of
Otter Assign. Beside it, NAME.mistakes.yml lists typical mistakes.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from book.command import UserError
from book.tools.paths import MASTERS

ORDER = ("metrics", "patches", "entropy", "attention", "study")  # as the chapters come


def masters() -> list[Path]:
    """List all masters, in the order of the course."""
    found = sorted(MASTERS.glob("*.ipynb"))
    if not found:
        raise UserError(f"expected masters of assignments (.ipynb) in {MASTERS}, found none")
    return sorted(found, key=lambda path: (*ORDER, path.stem).index(path.stem))


def mistakes(master: Path) -> dict[str, Any]:
    """The typical mistakes of an assignment, its minutes, and how hard each question is."""
    return yaml.safe_load(master.with_suffix(".mistakes.yml").read_text(encoding="utf-8"))


def title_of(master: Path) -> str:
    """The heading of an assignment."""
    cells = nbformat.read(master, as_version=4).cells
    prose = (cell.source for cell in cells if cell.cell_type == "markdown")
    source = next(text for text in prose if text.startswith("# "))
    return source.partition("\n")[0].removeprefix("# ")


def blocks(notebook: NotebookNode) -> Iterator[tuple[set[str], NotebookNode]]:
    """Every cell of a master with the kinds of block it stands in (QUESTION, SOLUTION, TESTS)."""
    inside: set[str] = set()
    for cell in notebook.cells:
        mark = re.match(r"#\s*(BEGIN|END)\s+(QUESTION|SOLUTION|TESTS|PROMPT)", cell.source)
        if mark and cell.cell_type == "raw":
            inside = inside | {mark[2]} if mark[1] == "BEGIN" else inside - {mark[2]}
        yield inside, cell


def questions(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What stands at the head of each question: name, points, whether graded by hand."""
    heads = [cell.source for _, cell in blocks(notebook) if cell.cell_type == "raw"]
    return [yaml.safe_load(h) for h in heads if re.match(r"#\s*BEGIN\s+QUESTION", h)]


def is_hidden(cell: NotebookNode) -> bool:
    """Whether a cell of a block of tests holds a hidden one."""
    head = "\n".join(cell.source.splitlines()[:8])
    return bool(re.search(r"hidden:\s*true|^#\s*hidden", head, re.IGNORECASE | re.MULTILINE))


def drawn_anew(source: str, secret: str) -> str:
    """A hidden test with other seeds, which follow from the old ones and a secret."""

    def seed(old: re.Match[str]) -> str:
        return str(int.from_bytes(hashlib.sha256(f"{secret} {old[0]}".encode()).digest()[:4]))

    return re.sub(r"(?<=default_rng\()\d+(?=\))", seed, source)


def split(notebook: NotebookNode) -> tuple[list[str], list[str]]:
    """The lines of a master that only teachers may see, and all others."""
    secret: list[str] = []
    public: list[str] = []
    for inside, cell in blocks(notebook):
        lines = cell.source.splitlines()
        if "TESTS" in inside:
            (secret if is_hidden(cell) else public).extend(lines)
        elif "SOLUTION" in inside and cell.cell_type == "markdown":
            secret += lines
        elif "SOLUTION" in inside:
            within = False
            for line in lines:
                within = within or "# BEGIN SOLUTION" in line
                (secret if within or "# SOLUTION" in line else public).append(line)
                within = within and "# END SOLUTION" not in line
        else:
            public += lines
    return secret, public
