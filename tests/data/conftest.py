"""A web server of one folder that fails on request, and a manifest made of a few small files."""

import hashlib
import io
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_scripts import manifest

Files = dict[str, bytes]


class Server(ThreadingHTTPServer):
    """Serves `folder`; `asked` lists the names sent, `faults` what the next answers do instead.

    A fault is a status of HTTP, "cut" for an answer that ends in the middle of the file, or None.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.folder = folder
        self.asked: list[str] = []
        self.faults: list[int | str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: Server

    def log_message(self, format, *args):
        """Stay silent."""

    def do_GET(self):
        self.server.asked.append(self.path.removeprefix("/"))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "cut":
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Write a manifest with one data set, whose files have the checksums of `files`."""

    def write(name, files, **entry):
        folder = tmp_path / "declared"
        folder.mkdir(exist_ok=True)
        lines = (f"{sha(content)}  {file}\n" for file, content in files.items())
        (folder / "list.sha256").write_text("".join(lines))
        entry |= {"title": "A set", "licence": "CC0", "sums": "list.sha256"}
        (folder / "manifest.json").write_text(json.dumps({name: entry}))
        monkeypatch.setattr(manifest, "MANIFEST", folder / "manifest.json")

    return write


def sha(content):
    return hashlib.sha256(content).hexdigest()


def put(folder, files):
    """Write files into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tgz(files):
    """A tar archive with the files in its folder jpg."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"jpg/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive_entry(url, packed, limit=1_000_000):
    """The entry of an archive in a manifest."""
    return {"url": url, "hash": f"sha256:{sha(packed)}", "folder": "jpg", "unpacked_limit": limit}
