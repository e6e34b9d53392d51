"""Unpack archives that other people made: everything that is not a plain picture is refused.

The whole archive is checked before the first byte is written, and a refusal leaves nothing behind.
"""

import fnmatch
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from data_scripts import DataError

MAX_MEMBERS = 20_000
_CHUNK = 1 << 18
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)


class Member(NamedTuple):
    """One entry of an archive: `kind` is "file", "folder", or the name of what is refused."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, members: str, limit: int) -> list[Path]:
    """Unpack the files of a .tgz or .zip that match `members` into `folder`, without subfolders.

    Parameters
    ----------
    archive, folder
        `folder` is emptied first, and removed again when the archive is refused.
    members
        Pattern of the names to keep, such as ``"jpg/*.jpg"``; hidden files are never kept.
    limit
        Most bytes that the archive may unpack to, declared and actual.

    Raises
    ------
    DataError
        For absolute names, ``..``, links, devices, two files of one name, more bytes or members
        than allowed, encrypted or damaged archives.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _opened(archive, limit) as found:
            kept = [member for member in _checked(found, limit) if _wanted(member, members)]
            _refuse_twins(kept)
            return [_write(member, folder) for member in kept]
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DataError):
            raise DataError(f"{archive.name} was refused: {error}") from error
        if isinstance(error, (*_BROKEN, RuntimeError, NotImplementedError)):
            raise DataError(
                f"{archive.name} cannot be unpacked ({error}); delete it and run again"
            ) from error
        raise


@contextmanager
def _opened(archive: Path, limit: int) -> Iterator[list[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [
                Member(i.filename, i.file_size, _zip_kind(i), partial(zipped.open, i))
                for i in zipped.infolist()
            ]
    else:
        _measure(archive, limit)
        with tarfile.open(archive, "r:gz") as tar:
            yield [
                Member(m.name, m.size, _tar_kind(m), partial(tar.extractfile, m))
                for m in tar.getmembers()
            ]


def _measure(archive: Path, limit: int) -> None:
    """Decompress into nothing: tarfile reads headers of any declared length into memory."""
    total = 0
    with gzip.open(archive) as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                raise DataError(f"it unpacks to more than the {limit:,} bytes allowed")


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "link"
    if info.is_dir() or stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() else "device or sparse file"


def _checked(members: Iterable[Member], limit: int) -> list[Member]:
    checked = list(members)
    for name, _, kind, _ in checked:
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name:
            raise DataError(f"member {name!r} has an absolute or foreign name")
        if ".." in PurePosixPath(name).parts:
            raise DataError(f"member {name!r} points out of the folder")
        if kind not in ("file", "folder"):
            raise DataError(f"member {name!r} is a {kind}, expected plain files only")
    if len(checked) > MAX_MEMBERS:
        raise DataError(f"it has {len(checked):,} members, at most {MAX_MEMBERS:,} are allowed")
    total = sum(member.size for member in checked)
    if total > limit:
        raise DataError(f"it declares {total:,} bytes, {limit:,} are allowed")
    return checked


def _wanted(member: Member, pattern: str) -> bool:
    path = PurePosixPath(member.name)
    hidden = path.name.startswith(".")
    return member.kind == "file" and not hidden and fnmatch.fnmatch(str(path), pattern)


def _refuse_twins(members: Iterable[Member]) -> None:
    seen: set[str] = set()
    for member in members:
        name = PurePosixPath(member.name).name.casefold()
        if name in seen:
            raise DataError(f"two members would become the one file {name!r}")
        seen.add(name)


def _write(member: Member, folder: Path) -> Path:
    """Copy one member out; it may hold as many bytes as it declared, and no more."""
    target = folder / PurePosixPath(member.name).name
    source = member.open()
    if source is None:
        raise DataError(f"member {member.name!r} has no content")
    with source, target.open("xb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
    if target.stat().st_size != member.size:
        raise DataError(f"member {member.name!r} declared {member.size:,} bytes and holds others")
    return target
