"""Stand in for a place where a student opens a notebook, and print what each of its cells says.

    python elsewhere.py PLACE NOTEBOOK [--named NAME]

PLACE is "colab" or "jupyter". The shell has Colab's name there; nothing of the repository can be
imported but the installed package, and Otter cannot at all. The working folder is the caller's.
With --named the server tells the kernel the path of the notebook, as Jupyter's does.
"""

import argparse
import contextlib
import io
import json
import os
import sys

from IPython.core.interactiveshell import InteractiveShell

ABSENT = ("otter", "ipylab", "book", "tests")


class Missing:
    """Finds nothing that a student's machine does not have."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class Shell(InteractiveShell):
    """A shell without a terminal."""


def shell_of(place):
    if place == "colab":
        Shell.__module__ = "google.colab._shell"
    shell = Shell.instance()
    shell.history_manager.enabled = False
    return shell


def said_by(shell, cell):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        result = shell.run_cell(cell["source"], cell_id=cell["id"])
    error = result.error_before_exec or result.error_in_exec
    return {"source": cell["source"], "said": text.getvalue(), "error": error and repr(error)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("place")
    parser.add_argument("notebook")
    parser.add_argument("--named")
    options = parser.parse_args()
    os.environ.pop("JPY_SESSION_NAME", None)
    if options.named:
        os.environ["JPY_SESSION_NAME"] = options.named
    sys.meta_path.insert(0, Missing)
    sys.path[0] = ""  # the working folder, as in a kernel
    import nbformat

    cells = nbformat.read(options.notebook, as_version=4).cells
    shell = shell_of(options.place)
    print(json.dumps([said_by(shell, c) for c in cells if c.cell_type == "code"]))
