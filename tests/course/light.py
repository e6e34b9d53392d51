"""Run variants of one assignment in one process and print the points and messages of each, as JSON.

    python light.py TESTS NOTEBOOK...

The same tests as in Otter's grading, by Otter's own classes; only the kernel for each notebook and
its start are saved. What it says of the solution is compared with Otter's word in the tests.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from otter.nbmeta_config import NBMetadataConfig
from otter.test_files import create_test_file

CHECK = re.compile(r"""^grader\.check\(["']([\w-]+)["']\)""")


def run(notebook, tests):
    names, results = {"__name__": "__main__"}, {}

    def check(path):
        test = create_test_file(str(path), NBMetadataConfig())
        test.run(names)
        results[path.stem] = {"points": test.score, "says": test.summary(public_only=True)}

    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if found := CHECK.match(cell.source):
            check(tests / f"{found[1]}.py")
        elif "grader" not in cell.source:
            with contextlib.suppress(Exception):
                exec(TransformerManager().transform_cell(cell.source), names)
    for path in sorted(tests.glob("*.py")):
        if path.stem not in results:
            check(path)
    return results


if __name__ == "__main__":
    said = {}
    for path in map(Path, sys.argv[2:]):
        with contextlib.redirect_stdout(io.StringIO()):
            said[path.stem] = run(nbformat.read(path, as_version=4), Path(sys.argv[1]))
    print(json.dumps(said))
