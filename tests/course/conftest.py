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
    names = [master.stem for master in course.masters()]
    for name, master in zip(names, course.masters(), strict=True):
        about = course.COURSE / name / "assignment.json"
        if not about.exists() or json.loads(about.read_text())["key"] != course.key_of(master):
            pytest.fail(f"expected {name} as its master is now in _build/course; run make course")
    return {name: grading.Assignment.read(name) for name in names}


@pytest.fixture(scope="session")
def lightly_graded(tmp_path_factory) -> Callable[..., dict]:
    """Grades variants of an assignment without a kernel for each."""

    def run(assignment: grading.Assignment, variants: dict[str, NotebookNode]) -> dict:
        folder = tmp_path_factory.mktemp(assignment.name)
        with zipfile.ZipFile(assignment.autograder) as archive:
            archive.extractall(folder / "autograder")
        work = folder / "work"
        extra = folder / "autograder" / "files"
        work.mkdir()
        for path in extra.rglob("*") if extra.exists() else ():
            if path.is_file():
                target = work / path.relative_to(extra)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        for name, notebook in variants.items():
            nbformat.write(notebook, folder / f"{name}.ipynb")
        command = [sys.executable, str(LIGHT), str(folder / "autograder" / "tests")]
        command += [str(folder / f"{name}.ipynb") for name in variants]
        settings = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "HOME": str(folder)}
        done = subprocess.run(
            command, cwd=work, env=os.environ | settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
