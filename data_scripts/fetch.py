"""Lay out a data set in a folder: what every data script shares, on top of pooch.

A file appears under its final name only after its checksum was compared. Until then it lives in
``<folder>/.partial``, where an interrupted download waits for the next run. Addresses, checksums
and terms are in ``manifest.json`` and ``checksums/``.
"""

import argparse
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pooch
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.download import Convert, NotThereError, fetch, is_url, located
from data_scripts.unpack import unpack

MANIFEST = Path(__file__).with_name("manifest.json")
SUMS = "SHA256SUMS"
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class Archive:
    """One published archive; `hash` is ``algorithm:digest``, `members` the pattern to keep."""

    url: str
    size: int | None
    hash: str
    members: str
    unpacked_limit: int

    @property
    def name(self) -> str:
        """The file name at the end of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DataSet:
    """One entry of the manifest, as far as the scripts use it.

    `files` lists every file's SHA-256; it is empty where only the archive's is published.
    `addresses` maps the beginning of a file name to the pattern of its official address.
    """

    name: str
    title: str
    licence: str
    files: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    archive: Archive | None = None

    def address(self, name: str) -> str | None:
        """Return the official address of one file, or None where there is none."""
        for prefix, pattern in self.addresses.items():
            if name.startswith(prefix):
                stem = name.removeprefix(prefix).rpartition(".")[0]
                return pattern.format(name=quote(name), stem=quote(stem))
        return None


@dataclass(frozen=True)
class Prepared:
    """A verified folder; `digest` covers the names and contents of all its files."""

    folder: Path
    files: int
    size: int
    digest: str
    without_address: tuple[str, ...] = ()


def entry(name: str) -> dict[str, Any]:
    """Return one data set's entry of the manifest as it stands there."""
    entries: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text("utf-8"))
    return entries[name]


def load(name: str) -> DataSet:
    """Read one data set's entry of the manifest, with its list of checksums."""
    found = entry(name)
    return DataSet(
        name=name,
        title=found["title"],
        licence=found["licence"],
        files=read_sums(MANIFEST.parent / found["sums"]) if "sums" in found else {},
        addresses=found.get("addresses", {}),
        archive=Archive(**found["archive"]) if "archive" in found else None,
    )


def read_sums(path: Path) -> dict[str, str]:
    """Read a list as ``sha256sum`` writes it: file name to checksum."""
    lines = (line.partition("  ") for line in path.read_text("utf-8").splitlines())
    return {name: digest for digest, _, name in lines if not digest.startswith("#")}


def prepare(
    data: DataSet, to: Path, *, mirror: str | None = None, convert: Convert | None = None
) -> Prepared:
    """Make `to` hold every file of the data set, verified; files already right are left alone.

    Parameters
    ----------
    mirror
        A folder or an address with the archive or the unpacked files, read instead of the
        official addresses and verified in the same way.
    convert
        Makes a listed file from the one at its official address; not used with a mirror.
    """
    if mirror and not is_url(mirror) and not Path(mirror).is_dir():
        raise DataError(f"--mirror expects a folder or an http(s) address, got {mirror!r}")
    wanted = dict(data.files) or _unpacked_before(data, to)
    missing = [name for name, digest in wanted.items() if not _matches(to / name, digest)]
    sourced = bool(mirror or data.archive)
    orphans = [name for name in missing if not (sourced or data.address(name))]
    if missing != orphans or not wanted:
        with _workplace(to) as work:
            unpacked = _from_archive(data, work, mirror)
            if unpacked is None:
                rest = [name for name in missing if name not in orphans]
                _fetch_files(data, rest, work, to, mirror, convert)
            else:
                wanted = wanted or unpacked
                _place(wanted, unpacked, work, to)
    return _seal(data, {n: s for n, s in wanted.items() if n not in orphans}, to, tuple(orphans))


@contextmanager
def _workplace(to: Path) -> Iterator[Path]:
    work = to / ".partial"
    work.mkdir(parents=True, exist_ok=True)
    try:
        yield work
        shutil.rmtree(work)
    finally:
        for folder in (work, to):
            with suppress(OSError):  # a folder with something in it stays
                folder.rmdir()


def _matches(path: Path, digest: str) -> bool:
    return path.is_file() and bool(pooch.file_hash(str(path)) == digest)


def _from_archive(data: DataSet, work: Path, mirror: str | None) -> dict[str, str] | None:
    """Unpack the archive; None where there is none, and the files come one by one."""
    archive = data.archive
    if archive is None:
        return None
    url = located(mirror, archive.name) if mirror else archive.url
    try:
        packed = fetch(url, archive.hash, work / archive.name, size=archive.size, progress=True)
    except NotThereError:
        if mirror and data.files:
            return None
        raise
    try:
        folder, limit = work / "unpacked", archive.unpacked_limit
        paths = unpack(packed, folder, members=archive.members, limit=limit)
    except DataError:
        packed.unlink()
        raise
    return {path.name: pooch.file_hash(str(path)) for path in paths}


def _place(wanted: Mapping[str, str], unpacked: Mapping[str, str], work: Path, to: Path) -> None:
    for name, digest in wanted.items():
        if unpacked.get(name) != digest:
            raise DataError(f"the archive does not hold {name} as listed; name another --mirror")
    for name in wanted:
        os.replace(work / "unpacked" / name, to / name)


def _fetch_files(
    data: DataSet,
    names: Sequence[str],
    work: Path,
    to: Path,
    mirror: str | None,
    convert: Convert | None,
) -> None:
    for name in tqdm(names, desc=data.name, unit="file", leave=False, disable=None):
        url = located(mirror, name) if mirror else str(data.address(name))
        made = fetch(url, data.files[name], work / name, convert=None if mirror else convert)
        os.replace(made, to / name)


def _unpacked_before(data: DataSet, to: Path) -> dict[str, str]:
    """Return what an earlier run unpacked from this very archive, or nothing."""
    path = to / SUMS
    if not path.is_file() or not path.read_text("utf-8").startswith(_heading(data)):
        return {}
    return read_sums(path)


def _heading(data: DataSet) -> str:
    return f"# {data.name} {data.archive.hash if data.archive else 'file by file'}\n"


def _seal(data: DataSet, files: Mapping[str, str], to: Path, orphans: tuple[str, ...]) -> Prepared:
    """Write the list of checksums beside the files, where ``sha256sum -c`` can use it."""
    if not files:
        raise DataError(f"{data.name} has no official address; name a copy with --mirror")
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    path = to / SUMS
    if not path.is_file() or path.read_text("utf-8") != _heading(data) + lines:
        temporary = path.with_suffix(".part")
        temporary.write_text(_heading(data) + lines, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    size = sum((to / name).stat().st_size for name in files)
    return Prepared(to, len(files), size, hashlib.sha256(lines.encode()).hexdigest(), orphans)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints take one line, as all others here."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with code 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def command(
    names: Sequence[str],
    argv: Sequence[str] | None,
    *,
    convert: Convert | None = None,
    finish: Callable[[Prepared, str | None], None] | None = None,
) -> int:
    """Run the command line of a data script; several `names` are offered as ``--part``."""
    parser = Parser(prog=f"data_scripts.{names[0].partition('_')[0]}")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--mirror", metavar="FOLDER_OR_URL", help="read from here, not from the official address"
    )
    if len(names) > 1:
        parser.add_argument("--part", choices=names, default=names[0], help="which files")
    arguments = parser.parse_args(argv)

    def work() -> None:
        data = load(arguments.part if len(names) > 1 else names[0])
        done = prepare(data, arguments.to, mirror=arguments.mirror, convert=convert)
        print(f"{data.title}: {done.files:,} files, {done.size:,} bytes in {done.folder}")
        print(f"sha256 of the sorted list of checksums: {done.digest}")
        print(f"licence: {data.licence}")
        if finish:
            finish(done, arguments.mirror)

    return guarded(parser.prog, work)


def guarded(program: str, work: Callable[[], None]) -> int:
    """Run `work`; a failure becomes one line on stderr and an exit code."""
    pooch.get_logger().setLevel("WARNING")
    try:
        work()
    except DataError as error:
        message, code = str(error), 2
    except KeyboardInterrupt:
        message, code = "interrupted; run the same command again, it continues", 130
    except OSError as error:
        code = 2
        if error.errno in _DISK_FULL:
            message = f"no space left for {error.filename or 'the files'}; free some and run again"
        else:
            message = f"{error}; mend that and run again"
    else:
        return 0
    print(f"{program}: {message}", file=sys.stderr)
    return code
