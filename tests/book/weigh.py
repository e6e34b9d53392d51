"""How heavy the built pages are, and how long a slow telephone shows nothing of them.

    python -m tests.book.weigh [PAGE ...]

Serves the book compressed, as a web server does, and opens every page, or those named, in Chromium:
390 pixels wide, with nothing kept from before, over 1.6 Mb/s with 150 ms of delay. It prints for
each what was on the wire before anybody scrolled, when something was to be seen, and when all.
Times depend on the machine as well; the bytes do not.
"""

import gzip
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from book.tools import paths
from tests.book.conftest import CHROMIUM, GUARD, PHONE

COMPRESSED = {".html", ".css", ".js", ".svg", ".txt", ".json"}  # what servers compress
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 2e5, "uploadThroughput": 9e4}
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def wire(path: Path) -> bytes:
    """What a web server sends of a file."""
    data = path.read_bytes()
    return gzip.compress(data, mtime=0) if path.suffix in COMPRESSED else data


class Compressing(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = wire(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(data)))
        if path.suffix in COMPRESSED:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def served(html: Path) -> Iterator[str]:
    """Serve a folder, compressed, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Compressing, directory=str(html)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def before_scrolling(browser: Any, html: Path, address: str, name: str) -> int:
    """Bytes on the wire of what a page asks for on a phone until it asks for nothing more."""
    page = browser.new_page(viewport=PHONE)
    page.set_default_timeout(GUARD)
    asked = set()
    page.on("request", lambda request: asked.add(request.url.split("?")[0].split("#")[0]))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    page.close()
    files = (html / url.removeprefix(f"{address}/") for url in asked if url.startswith(address))
    return sum(len(wire(file)) for file in files if file.is_file())


def painted(browser: Any, address: str, name: str) -> tuple[float, float]:
    """Seconds until a slow telephone shows something, and until the page is loaded."""
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(GUARD)
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", SLOW)
    page.goto(f"{address}/{name}", wait_until="load")
    times = page.evaluate(PAINTED) / 1000, page.evaluate(LOADED) / 1000
    context.close()
    return times


def main(names: list[str]) -> None:
    """Print the table."""
    from playwright.sync_api import sync_playwright

    found = (path.relative_to(paths.HTML).as_posix() for path in paths.HTML.rglob("*.html"))
    known = sorted(name for name in found if not name.startswith("_static"))
    if not known or set(names) - set(known):
        sys.exit(f"expected pages of the built book, got {names}; run make book")
    with sync_playwright() as playwright, served(paths.HTML) as address:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        print("| page | kB before scrolling | first paint s | loaded s |\n|---|---|---|---|")
        for name in names or known:
            size = before_scrolling(browser, paths.HTML, address, name) / 1000
            first, all_ = painted(browser, address, name)
            print(f"| {name} | {size:.0f} | {first:.1f} | {all_:.1f} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
