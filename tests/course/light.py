"""Run variants of one assignment in one process and print the points and messages of each, as JSON.

    python light.py AUTOGRADER NOTEBOOK...

The same checks as in grading; only the process for each notebook and its start are saved.
Every variant has a folder of its own, with the files of the autograder.
"""

import contextlib
import io
import itertools
import json
import linecache
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from book.course.checks import read

NUMBERS = itertools.count()
CHECK = re.compile(r"""^grader\.check\(["']([\w-]+)["']\)""")


def execute(source, names):
    """Run a cell; its functions can be asked for their source, as in a kernel."""
    place = f"<cell {next(NUMBERS)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    exec(compile(source, place, "exec"), names)


def run(notebook, tests):
    names, results = {"__name__": "__main__"}, {}

    def check(path):
        found = read(path.read_text(encoding="utf-8"), path.stem).values()
        said = [(check, check.run(names)) for check in found]
        points = sum(check.points for check, message in said if message is None)
        wrong = [message for check, message in said if message is not None and not check.hidden]
        results[path.stem] = {"points": points, "says": "\n".join(wrong)}

    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if found := CHECK.match(cell.source):
            check(tests / f"{found[1]}.py")
        elif "grader." not in cell.source and "Grader(" not in cell.source:
            with contextlib.suppress(Exception):
                execute(TransformerManager().transform_cell(cell.source), names)
    for path in sorted(tests.glob("*.py")):
        if path.stem not in results:
            check(path)
    return results


@contextlib.contextmanager
def folder_of_its_own(path, files):
    """The working folder of one variant; modules imported from it are forgotten afterwards."""
    work = path.with_suffix("")
    work.mkdir()
    if files.exists():
        shutil.copytree(files, work, dirs_exist_ok=True)
    os.chdir(work)
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
    for name in set(sys.modules) - before:
        if str(work) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


if __name__ == "__main__":
    autograder, *notebooks = map(Path, sys.argv[1:])
    sys.path.insert(0, "")  # the working folder, as in a kernel
    said = {}
    for path in notebooks:
        with folder_of_its_own(path, autograder / "files"):
            said[path.stem] = run(nbformat.read(path, as_version=4), autograder / "tests")
    print(json.dumps(said))
