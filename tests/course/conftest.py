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

from book import course, grading

ROOT = Path(__file__).resolve().parents[2]
LIGHT = Path(__file__).with_name("light.py")


@pytest.fixture(scope="session")
def assignments() -> dict[str, grading.Assignment]:
    """All assignments that were made."""
    for master in course.masters():
        about = course.COURSE / master.stem / "assignment.json"
        if not about.exists() or json.loads(about.read_text())["key"] != course.key_of(master):
            pytest.fail(f"expected {master.stem} of today in _build/course; run make course")
    return {master.stem: grading.Assignment.read(master.stem) for master in course.masters()}


@pytest.fixture(scope="session")
def lightly_graded(tmp_path_factory) -> Callable[..., dict]:
    """Grades variants of an assignment without a kernel for each."""

    def run(assignment: grading.Assignment, variants: dict[str, NotebookNode]) -> dict:
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
