"""The assignments as `make course` left them, and a quick way to grade variants of them."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from book.course.assignments import key_of
from book.course.masters import masters
from book.course.submission import Assignment
from book.tools import paths
from book.tools.records import remembered

ROOT = Path(__file__).resolve().parents[2]
LIGHT = Path(__file__).with_name("light.py")


@pytest.fixture(scope="session")
def assignments() -> dict[str, Assignment]:
    """All assignments that were made."""
    for master in masters():
        if not remembered(paths.COURSE / master.stem / "assignment.json", key_of(master)):
            pytest.fail(f"expected {master.stem} of today in _build/course; run make course")
    return {master.stem: Assignment.read(master.stem) for master in masters()}


@pytest.fixture(scope="session")
def lightly_graded(tmp_path_factory) -> Callable[..., dict]:
    """Grades variants of an assignment without a kernel for each."""

    def run(assignment: Assignment, variants: dict[str, NotebookNode]) -> dict:
        folder = tmp_path_factory.mktemp(assignment.name)
        with zipfile.ZipFile(assignment.autograder) as archive:
            archive.extractall(folder / "autograder")
        for name, notebook in variants.items():
            nbformat.write(notebook, folder / f"{name}.ipynb")
        command = [sys.executable, str(LIGHT), str(folder / "autograder")]
        command += [str(folder / f"{name}.ipynb") for name in variants]
        settings = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "HOME": str(folder)}
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
