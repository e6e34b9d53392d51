"""Files: written whole or not at all, listed by their endings, named in complaints."""

import hashlib
import os
import re
import tempfile
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

_STANDARD_ERROR = threading.Lock()


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name holds either the old or the new content, never a part.

    The bytes go to a hidden neighbour first, which then takes the name. Neighbours that a process
    left behind when it was killed while it wrote the same file are removed. Where several processes
    write one file at once, each of them succeeds, and the last one's bytes stay. Raises `OSError`
    as `open` does, about `path`, and leaves nothing behind.
    """
    path = Path(path)
    prefix = part_prefix(path)
    part = path.with_name(f"{prefix}{uuid.uuid4().hex}.part")
    try:
        for left in path.parent.glob(f"{prefix}*.part"):
            with suppress(OSError):
                left.unlink()
        while True:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):  # one that began to write the same file removed it
                part.replace(path)
                return
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def part_prefix(path: Path) -> str:
    """How the names of the unfinished neighbours of a file begin."""
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"


def list_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder that have one of the endings (lower case, with dot), by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)


def shown(path: str | os.PathLike[str]) -> str:
    """The name of a file as one line of text: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def one_line(error: BaseException, about: str | os.PathLike[str] | None = None) -> str:
    """The message of an error on one line, beginning with the file that it is about."""
    line = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        line = (
            f"{shown(error.filename)}: {error.strerror}. Give a path that can be read or written."
        )
    if about is None:
        return re.sub(r"\s*[\r\n\v\f]\s*", " ", line).strip()
    line = one_line(ValueError(line.replace(str(about), shown(about))))
    return line if shown(about) in line else f"{shown(about)}: {line}"


@contextmanager
def standard_error_kept() -> Iterator[list[str]]:
    """Keep what libraries write on the standard error of the process: a list, filled at the end.

    Libraries in C, such as libtiff, complain there, without the name of the file they read. All
    threads share it, so they wait for one another.
    """
    lines: list[str] = []
    with _STANDARD_ERROR, ExitStack() as stack:
        with suppress(OSError):  # there may be none
            ours = os.dup(2)
            stack.callback(os.close, ours)
            kept = stack.enter_context(tempfile.TemporaryFile())
            os.dup2(kept.fileno(), 2)
            stack.callback(_read_back, kept, lines)
            stack.callback(os.dup2, ours, 2)
        yield lines


def _read_back(kept: IO[bytes], lines: list[str]) -> None:
    kept.seek(0)
    lines += kept.read().decode(errors="backslashreplace").splitlines()
