"""Bring one file: continue an interrupted download, retry with back-off, compare the checksum.

pooch compares the checksum and gives the file its name; the downloader passed to it adds what
pooch's own cannot do, which is to keep the bytes that arrived and ask only for the rest.
"""

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from data_scripts import DataError

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds of silence
RETRIES = 4  # further attempts after one that brought no new byte
BACKOFF = 1.0  # seconds before the first retry, doubled for each further one
UNSIZED_LIMIT = 100_000_000  # bytes accepted for a file whose size is not published
CHUNK = 1 << 16

Convert = Callable[[Path, Path], None]


class NotThereError(DataError):
    """The source answered, and it does not have the file."""


def fetch(
    url: str,
    known_hash: str,
    target: Path,
    *,
    size: int | None = None,
    convert: Convert | None = None,
    progress: bool = False,
) -> Path:
    """Bring one file to `target`; what an earlier run left in ``<target>.part`` is continued.

    Parameters
    ----------
    url
        An http(s) address or the path of a local file.
    known_hash
        SHA-256, or ``algorithm:digest``, of the file as it shall lie at `target`.
    convert
        Makes the file of `known_hash` from the one at `url`; called with both paths.
    """
    part = target.with_name(f"{target.name}.part")
    resumed = is_url(url) and part.exists()
    bring = Resume(part, size=size, convert=convert, progress=progress)
    try:
        pooch.retrieve(url, known_hash, fname=target.name, path=target.parent, downloader=bring)
    except ValueError as error:
        if resumed:  # its beginning may be another file's: once more from the start
            return fetch(url, known_hash, target, size=size, convert=convert, progress=progress)
        raise DataError(
            f"{target.name} from {url} does not have the published checksum {known_hash}: "
            "it was damaged or changed; run again, or name a good copy with --mirror"
        ) from error
    return target


def located(mirror: str, name: str) -> str:
    """Return where a mirror, a folder or an address, keeps the file `name`."""
    return f"{mirror.rstrip('/')}/{quote(name)}" if is_url(mirror) else str(Path(mirror, name))


def is_url(source: str) -> bool:
    """Tell an address from a path."""
    return source.startswith(("http://", "https://"))


class Resume:
    """A pooch downloader that collects the file in `part` over as many answers as it takes."""

    def __init__(
        self, part: Path, *, size: int | None, convert: Convert | None, progress: bool
    ) -> None:
        self.part = part
        self.size = size
        self.convert = convert
        self.progress = progress

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Bring `url` to `output_file`, where pooch compares its checksum."""
        if not is_url(url):
            _copy(Path(url), output_file)
            return
        self._download(url)
        if self.convert:
            try:
                self.convert(self.part, Path(output_file))
            finally:
                self.part.unlink()
        else:
            os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _download(self, url: str) -> None:
        most, fruitless = self._have(), 0
        while True:
            try:
                return self._continue(url)
            except (requests.RequestException, HTTPError) as error:
                fruitless = 1 if self._have() > most else fruitless + 1
                most = max(most, self._have())
                if fruitless > RETRIES:
                    raise DataError(
                        f"{url} cannot be read ({_cause(error)}); check the network and run again "
                        "(it continues where it stopped), or name a copy with --mirror"
                    ) from error
                time.sleep(BACKOFF * 2 ** (fruitless - 1))

    def _continue(self, url: str) -> None:
        have = self._have()
        if have and have == self.size:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # nothing follows what we have: the checksum will tell
                return
            _refuse_error(answer, url)
            begins = answer.headers.get("Content-Range", "")
            resumes = answer.status_code == 206 and begins.startswith(f"bytes {have}-")
            have = self._append(answer, url, have if resumes else 0)
        if self.size and have < self.size:
            raise requests.ConnectionError(f"it ended after {have:,} of {self.size:,} bytes")

    def _append(self, answer: requests.Response, url: str, have: int) -> int:
        limit = self.size or UNSIZED_LIMIT
        with (
            self.part.open("ab" if have else "wb") as out,
            tqdm(
                desc=self.part.stem,
                initial=have,
                total=self.size,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None if self.progress else True,
            ) as bar,
        ):
            for chunk in iter(partial(answer.raw.read1, CHUNK), b""):  # what arrives is kept
                if not have:
                    _refuse_page(chunk, url)
                have += out.write(chunk)
                bar.update(len(chunk))
                if have > limit:
                    break
        if have > limit:
            self.part.unlink()
            raise DataError(
                f"{url} sends more than the {limit:,} bytes expected: it is another file; "
                "name a good copy with --mirror"
            )
        return have


def _refuse_error(answer: requests.Response, url: str) -> None:
    """Raise for an answer without the file; what may pass by itself is left to be retried."""
    code = answer.status_code
    if code in (404, 410):
        raise NotThereError(f"{url} does not exist ({code}); name a copy with --mirror")
    if 400 <= code < 500 and code not in (408, 429):
        raise DataError(f"{url} was refused ({code} {answer.reason}); name a copy with --mirror")
    answer.raise_for_status()
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        _refuse_page(b"<html", url)


def _refuse_page(beginning: bytes, url: str) -> None:
    if beginning.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"expected a file from {url}, got a web page (a login, a network's entry page, or the "
            "file moved); open the address in a browser, or name a copy with --mirror"
        )


def _cause(error: BaseException) -> str:
    """Return the innermost cause: requests wraps it in whole sentences."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


def _copy(source: Path, output_file: str) -> None:
    if not source.is_file():
        raise NotThereError(f"{source} does not exist; point --mirror at a folder that has it")
    shutil.copyfile(source, output_file)
