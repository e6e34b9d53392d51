"""Files: written whole or not at all, listed by their endings, named in complaints."""

import os
import uuid
from collections.abc import Collection
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name holds either the old or the new content, never a part.

    The bytes go to a hidden neighbour first, which then takes the name. Raises `OSError` as `open`
    does, about `path`, and leaves nothing behind.
    """
    path = Path(path)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def list_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder that have one of the endings (lower case, with dot), by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)


def one_line(error: BaseException, about: Path | None = None) -> str:
    """The message of an error on one line, beginning with the file that it is about."""
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        line = f"{error.filename}: {error.strerror}. Give a path that can be read or written."
    return line if about is None or str(about) in line else f"{about}: {line}"
