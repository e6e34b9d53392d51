"""A web server that misbehaves on request, tiny pictures, and a manifest made of them."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts import download, fetch


@dataclass
class Page:
    """What the server sends for one path, and how badly."""

    body: bytes
    ranges: bool = True
    kind: str = "application/octet-stream"
    statuses: list[int] = field(default_factory=list)  # sent first, one a request
    cuts: list[int] = field(default_factory=list)  # the connection ends after so many bytes
    length: int | None = None  # a lie about Content-Length
    offset_lie: int = 0  # a 206 answer that begins elsewhere
    pause: float = 0.0  # seconds between pieces
    piece: int = 4096


class Server(ThreadingHTTPServer):
    """Serves `pages` and remembers every request as (path, Range header)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        page = self.server.pages.get(self.path)
        if page is None or page.statuses:
            self.send_error(page.statuses.pop(0) if page else 404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and page.ranges else 0
        if begin and begin >= len(page.body):
            self.send_error(416)
            return
        body = page.body[max(0, begin + page.offset_lie) :]
        self.send_response(206 if begin else 200)
        if begin:
            first = begin + page.offset_lie
            self.send_header("Content-Range", f"bytes {first}-{len(page.body) - 1}/*")
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(body) if page.length is None else page.length))
        self.end_headers()
        if page.cuts:
            body = body[: page.cuts.pop(0)]
        try:
            for start in range(0, len(body), page.piece):
                self.wfile.write(body[start : start + page.piece])
                time.sleep(page.pause)
        except OSError:
            return  # the client left


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF", 0.005)
    monkeypatch.setattr(download, "TIMEOUT", (2.0, 0.5))


@pytest.fixture
def body(rng: np.random.Generator) -> bytes:
    """Bytes of a file: 300,000, incompressible."""
    return rng.bytes(300_000)


@pytest.fixture
def tiny(rng: np.random.Generator) -> Callable[[str], bytes]:
    """Make a picture file of a few hundred bytes, another one on each call."""

    def make(ending: str) -> bytes:
        out = io.BytesIO()
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(out, {"jpg": "JPEG", "png": "PNG"}[ending])
        return out.getvalue()

    return make


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a manifest with one data set, whose files have the checksums of `files`."""

    def write(name: str, files: dict[str, bytes] | None = None, **entry: object) -> None:
        folder = tmp_path / "declared"
        folder.mkdir(exist_ok=True)
        if files is not None:
            lines = (f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in files.items())
            (folder / "list.sha256").write_text("".join(lines))
            entry["sums"] = "list.sha256"
        content = {name: {"title": "A set", "licence": "CC0", **entry}}
        (folder / "manifest.json").write_text(json.dumps(content))
        monkeypatch.setattr(fetch, "MANIFEST", folder / "manifest.json")

    return write
