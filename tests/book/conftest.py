"""The chapters as written, as executed, and the pages made from them."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode

from book.tools import identity, paths

GUARD = 600_000  # milliseconds; only a page that never loads takes as long
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
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


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=GUARD
        )
        yield started
        started.close()


def failed(request) -> bool:
    """Whether a request failed, and was not given up as the page was left."""
    return request.failure != "net::ERR_ABORTED"


def open_page(browser):
    """A page that keeps what it asked for, what it did not get, and what went wrong in scripts."""
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(GUARD)
    page.add_init_script("localStorage.setItem('mode', 'light')")
    page.asked, page.missing, page.errors = [], [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("response", lambda answer: page.missing.extend([answer.url] * (answer.status >= 400)))
    page.on("requestfailed", lambda request: page.missing.extend([request.url] * failed(request)))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


@pytest.fixture
def page(browser):
    """A page on a desktop, closed at the end."""
    opened = open_page(browser)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def address(html, tmp_path_factory):
    """Serve the book on this machine as it is published: below the name of the repository."""
    below, folder = identity.stated().pages.partition("/")[2], tmp_path_factory.mktemp("served")
    (folder / below).symlink_to(html, target_is_directory=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{below}"
    server.shutdown()
    thread.join()
    server.server_close()
