"""The files of the project as a fresh clone has them."""

import os
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def ignored() -> set[str]:
    """The patterns in .gitignore, `/name` at the top level only, and Git's own folder."""
    return {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()} | {".git"}


@pytest.fixture(scope="session")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def lock() -> dict[str, str]:
    """Map the name of each locked package to its version on this machine's Python."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.split(";")[0].rstrip("\\ ").split("==") for line in lines if line[:1].isalnum())
    return {name: version.strip() for name, version in reversed(list(pins))}


@pytest.fixture(scope="session")
def text_files(ignored) -> dict[str, str]:
    """Map the path of every file that a commit can hold and a person can read to its text.

    What others wrote is left out.
    """
    found = {}
    for folder, folders, names in os.walk(ROOT):
        if Path(folder) == ROOT / "web" / "vendor":
            folders.clear()
            continue
        top = "/" if Path(folder) == ROOT else ""
        folders[:] = [
            name
            for name in folders
            if not any(fnmatch(name, what) or top + name == what for what in ignored)
        ]
        for path in (Path(folder) / name for name in names if not {name, top + name} & ignored):
            try:
                found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found
