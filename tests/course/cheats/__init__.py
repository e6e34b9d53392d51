"""Submissions that try to get points without work, or to do harm: a file each.

    python -m tests.course.cheats        grade all, and print the table

Each file says what it tries, how many points of question `mse` its work is worth (-1: none, and
the teacher is told why), and which flag a teacher sees.
"""

import re
import secrets
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat import NotebookNode

from book.course.submission import ERRORS, FAILED, GRADED, Assignment
from tests.course.submissions import blank

FOLDER = Path(__file__).parent
HEAD = re.compile(r"# tries: ([^\n]*)\n# earns: ([^\n]*)\n# flag: ?([^\n]*)\n(.*)", re.DOTALL)
START = "import numpy as np"


@dataclass(frozen=True)
class Cheat:
    name: str
    tries: str
    earns: float
    flag: str
    code: str

    def allows(self, result: dict[str, Any]) -> bool:
        """Whether it got what its work is worth; no points at all, and a reason, is less."""
        if result["points"] is None:
            return result["status"] not in (GRADED, ERRORS, FAILED)
        return result["points"]["mse"] == self.earns

    def notebook(self, assignment: Assignment, **filled: object) -> NotebookNode:
        code = self.code
        for name, value in filled.items():
            code = code.replace(f"{{{name}}}", str(value))
        cell, cells = nbformat.v4.new_code_cell, blank(assignment).cells
        prepare = next(c for c in cells if "Grader(get_ipython()" in c.source)
        check = cell('grader.check("mse")')
        return nbformat.v4.new_notebook(cells=[prepare, cell(START), cell(code), check])


def cheats() -> dict[str, Cheat]:
    found = {}
    for path in sorted(FOLDER.glob("*.ipy")):
        if heading := HEAD.fullmatch(path.read_text(encoding="utf-8")):
            tries, earns, flag, code = heading.groups()
            found[path.stem] = Cheat(path.stem, tries, float(earns), flag, code)
    return found


def number_of_its_own() -> str:
    """Digits that no other process of this machine has in its command line."""
    return str(secrets.randbelow(9 * 10**14) + 10**14)


def left_behind(token: str) -> list[str]:
    """Command lines of processes that carry the token of this run."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if token in line and process.status() != psutil.STATUS_ZOMBIE:
            lines.append(line)
    return lines


class Listener:
    """Takes connections on this machine, and remembers whether one came."""

    def __enter__(self) -> "Listener":
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.asked = self.socket.getsockname()[1], False
        threading.Thread(target=self._wait, daemon=True).start()
        return self

    def _wait(self) -> None:
        try:
            line, _ = self.socket.accept()
        except OSError:
            return
        self.asked = True
        line.sendall(b"4")
        line.close()

    def __exit__(self, *_: object) -> None:
        self.socket.close()
