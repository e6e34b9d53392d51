"""Run variants of one assignment in one process and print the points and messages of each, as JSON.

    python light.py AUTOGRADER NOTEBOOK...

The same tests as in Otter's grading, by Otter's own classes; only the kernel for each notebook and
its start are saved. Every variant has a folder of its own, with the files of the autograder.
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
from otter.nbmeta_config import NBMetadataConfig
from otter.test_files import create_test_file

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
        test = create_test_file(str(path), NBMetadataConfig())
        test.run(names)
        results[path.stem] = {"points": test.score, "says": test.summary(public_only=True)}

    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if found := CHECK.match(cell.source):
            check(tests / f"{found[1]}.py")
        elif "grader." not in cell.source and "otter.Notebook" not in cell.source:
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
