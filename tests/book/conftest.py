"""The chapters as written, as executed, and the pages made from them."""

import shutil
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from book.tools import paths

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a browser where there is none; a mark set here makes one line of them all."""
    reason = "no browser looked at the pages: install Chromium (apt install chromium)"
    for item in items:
        if CHROMIUM is None and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built book."""
    if not (paths.BUILD / "html.json").exists():
        pytest.fail("expected the built book in _build/html; run make book")
    return paths.HTML


@pytest.fixture(scope="session")
def chapters() -> dict[str, NotebookNode]:
    """Every chapter as it is committed, by name."""
    sources = sorted(paths.CHAPTERS.glob("*.ipynb"))
    return {path.stem: nbformat.read(path, as_version=4) for path in sources}


@pytest.fixture(scope="session")
def solutions() -> dict[str, NotebookNode]:
    """The solutions of every chapter that has exercises, by its name."""
    sources = sorted(paths.SOLUTIONS.glob("*.ipynb"))
    return {path.stem: nbformat.read(path, as_version=4) for path in sources}


@pytest.fixture(scope="session")
def pages(html) -> dict[str, BeautifulSoup]:
    """Every page of the built book, parsed, by its path."""
    found = sorted(html.rglob("*.html"))
    paths = [path for path in found if "_static" not in path.relative_to(html).parts]
    return {
        path.relative_to(html).as_posix(): BeautifulSoup(path.read_bytes(), "html.parser")
        for path in paths
    }
