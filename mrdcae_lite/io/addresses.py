"""Files at addresses, such as s3://bucket/folder, beside those in folders.

universal_pathlib gives an address the interface of a `Path`, and fsspec reads and writes what is
there. This is what differs: errors, listing, and writing in one step.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.extras import extra


def address(text: str) -> Path:
    """The place that an address such as s3://bucket/folder stands for.

    Raises:
        ImportError: if fsspec is not installed, or the package for this kind of address.
        ValueError: for a kind that fsspec does not know.
    """
    with extra("cluster"):
        from upath import UPath
    remote: Any = UPath(text, use_listings_cache=False)  # others write there, too
    _ = remote.fs
    place: Path = remote
    return place


def is_address(place: Path) -> bool:
    """Whether this is an address, no path of this machine."""
    return not isinstance(place, Path)


def identity(place: Path) -> str:
    """A text that is the same for two names of one file; a folder's links are followed."""
    return str(place) if is_address(place) else os.path.realpath(place)


def read(place: Path) -> bytes:
    """The bytes of a file; raises `OSError`."""
    if not is_address(place):
        return place.read_bytes()
    remote: Any = place
    with _as_os_error(place):
        content: bytes = remote.fs.cat_file(remote.path)
        return content


@contextmanager
def opened(place: Path) -> Iterator[IO[bytes]]:
    """A file opened to read some of its bytes; raises `OSError`."""
    with _as_os_error(place):
        file = place.open("rb")
    with file:
        yield file


def write(place: Path, data: bytes) -> None:
    """Write a file so that there is never a part of it; missing folders are made.

    Raises `OSError`.
    """
    if not is_address(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, data)
        return
    remote: Any = place
    with _as_os_error(place):
        remote.fs.makedirs(remote.parent.path, exist_ok=True)
        with remote.fs.open(remote.path, "wb", autocommit=False) as file:
            file.write(data)
        file.commit()


def is_folder(place: Path) -> bool:
    """Whether this is a folder; raises `OSError` if a store does not answer."""
    with _as_os_error(place):
        return place.is_dir()


def is_there(place: Path) -> bool:
    """Whether there is a file or folder; raises `OSError` if a store does not answer."""
    with _as_os_error(place):
        return place.exists()


def walk(
    folder: Path, recursive: bool, on_error: Callable[[OSError], object]
) -> Iterator[tuple[Path, Path, list[str], list[str]]]:
    """Each folder, its place within the first, and the names of its folders and of its files.

    They are listed one after the other; a folder that is taken out of the names is not.
    """
    if not is_address(folder):
        for top, folders, names in os.walk(folder, onerror=on_error):
            yield Path(top), Path(top).relative_to(folder), folders, names
        return
    place: Any = folder
    with _as_os_error(folder):
        found = place.fs.walk(place.path, maxdepth=None if recursive else 1, on_error=on_error)
        for top, folders, names in found:
            within = top[len(place.path) :].strip("/")
            here = folder.joinpath(*within.split("/")) if within else folder
            names = [name for name in names if name]  # "" is a folder's own entry
            yield here, Path(within), folders, names


@contextmanager
def _as_os_error(place: Path) -> Iterator[None]:
    """Let what a store's own package raises be an `OSError` about the address."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "No such file or folder", str(place)) from error
        raise ConnectionError(
            f"{place}: expected a store that answers. Received: {type(error).__name__}: {error}. "
            "Check the address and your access."
        ) from error
