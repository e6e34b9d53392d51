"""Lay out a data set in a folder: what every download script shares, on top of pooch.

pooch downloads under a temporary name, tries again after a failure, and gives a file its name only
when the checksum agrees. This module adds folders as a source, archives, and messages of one line.
"""

import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
import requests
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.command import Parser, guarded
from data_scripts.manifest import Archive, DataSet, load, matches

RETRIES = 3  # further attempts, after pauses of 1, 2 and 3 seconds

Downloader = Callable[[str, str, pooch.Pooch], None]
"""A function of an address, the path to write to, and the pooch that calls it."""


def prepare(
    data: DataSet, to: Path, *, mirror: str | None = None, downloader: Downloader | None = None
) -> list[Path]:
    """Make `to` hold every file of the data set that can be had, verified; returns their paths.

    Files that are there already and right are left alone. A `mirror` is a folder or an address with
    the archive or the unpacked files, read instead of the official addresses and verified in the
    same way. A `downloader` makes a listed file from the one at its official address, not from a
    mirror.
    """
    if mirror and not _is_url(mirror) and not Path(mirror).is_dir():
        raise DataError(f"--mirror expects a folder or an http(s) address, got {mirror!r}")
    missing = [name for name, digest in data.files.items() if not matches(to / name, digest)]
    wanted = [name for name in missing if mirror or data.archive or name in data.urls]
    if len(missing) == len(data.files) and not wanted:
        raise DataError(f"{data.name} has no official address; name a copy with --mirror")
    if wanted:
        to.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=to) as work:
            source, make = mirror, None if mirror else downloader
            if data.archive and (not mirror or _holds(mirror, data.archive.name)):
                source = _unpacked(data.archive, Path(work), mirror)
            pup = store(to, data.files, data.urls, source)
            for name in tqdm(wanted, desc=data.name, unit="file", leave=False, disable=None):
                bring(pup, name, make)
    absent = set(missing) - set(wanted)
    return [to / name for name in data.files if name not in absent]


def store(
    folder: Path, files: Mapping[str, str], urls: Mapping[str, str], mirror: str | None
) -> pooch.Pooch:
    """The pooch that keeps `files` (name to checksum) in a folder, from `urls` or a mirror."""
    return pooch.create(
        path=folder,
        base_url=mirror or "",
        registry=dict(files),
        urls={} if mirror else dict(urls),
        retry_if_failed=RETRIES if mirror is None or _is_url(mirror) else 0,
    )


def bring(
    pup: pooch.Pooch, name: str, downloader: Downloader | None = None, *, progress: bool = False
) -> Path:
    """Make the folder of a pooch hold one of its files, verified; returns its path.

    A file that cannot be read or is another one is a `DataError`; what was in its place is kept.
    """
    url, path, digest = pup.get_url(name), Path(pup.abspath, name), pup.registry[name]
    if path.exists() and not matches(path, digest):
        print(f"{path} is not the file that is listed; it will be replaced")
    try:
        pup.fetch(
            name,
            downloader=downloader if _is_url(url) else _copy,
            progressbar=progress and sys.stderr.isatty(),
        )
    except requests.RequestException as error:
        raise _unreadable(url, error) from error
    except ValueError as error:
        raise DataError(
            f"{url} is not the file that is listed (checksum {digest}): it was damaged or changed, "
            "or a web page came in its place; run again, or name a good copy with --mirror"
        ) from error
    path.chmod(0o644)  # pooch's temporary files are for their owner alone
    return path


def unpack(packed: Path, folder: Path, limit: int) -> None:
    """Unpack a tar archive of at most `limit` bytes, of plain files and folders, into a folder.

    Links, devices, names that lead out of the folder, more bytes, and damaged archives are a
    `DataError`. pooch.Untar is not used because it leaves out the filter before Python 3.12.
    """
    try:
        with tarfile.open(packed) as tar:
            _check(tar, limit)
            tar.extractall(folder, filter="data")
    except (DataError, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{packed.name} was refused: {error}; name another --mirror") from error


def _check(tar: tarfile.TarFile, limit: int) -> None:
    total = 0
    for member in tar:
        total += member.size
        if not (member.isreg() or member.isdir()):
            raise DataError(f"{member.name} is neither a plain file nor a folder")
        if total > limit:
            raise DataError(f"it unpacks to more than {limit:,} bytes")


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _holds(mirror: str, name: str) -> bool:
    """Whether a mirror has a file."""
    if not _is_url(mirror):
        return Path(mirror, name).is_file()
    pup = store(Path(), {name: ""}, {}, mirror)
    try:
        return bool(pup.is_available(name))
    except requests.RequestException as error:
        raise _unreadable(pup.get_url(name), error) from error


def _unpacked(archive: Archive, work: Path, mirror: str | None) -> str:
    """The folder with the files of an archive, which is brought and unpacked in `work`."""
    pup = store(work, {archive.name: archive.hash}, {archive.name: archive.url}, mirror)
    unpack(bring(pup, archive.name, progress=True), work / "unpacked", archive.unpacked_limit)
    return str(work / "unpacked" / archive.folder)


def _copy(source: str, target: str, _pup: pooch.Pooch) -> None:
    """A downloader for folders, which pooch itself does not read."""
    if not Path(source).is_file():
        raise DataError(f"{source} does not exist; point --mirror at a folder that has it")
    shutil.copyfile(source, target)


def _unreadable(url: str, error: BaseException) -> DataError:
    """The complaint with the innermost cause: requests wraps it in whole sentences."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return DataError(
        f"{url} cannot be read ({error}); check the network and run again, "
        "or name a copy with --mirror"
    )


def command_line(
    name: str,
    argv: Sequence[str] | None,
    *,
    downloader: Downloader | None = None,
    finish: Callable[[Path, str | None], None] | None = None,
) -> int:
    """Run the command line of a download script; `finish` gets the folder and the mirror."""
    parser = Parser(prog=f"data_scripts.{name.partition('_')[0]}")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--mirror", metavar="FOLDER_OR_URL", help="read from here, not from the official address"
    )
    options = parser.parse_args(argv)
    pooch.get_logger().setLevel("WARNING")

    def work() -> None:
        data = load(name)
        paths = prepare(data, options.to, mirror=options.mirror, downloader=downloader)
        size = sum(path.stat().st_size for path in paths)
        print(f"{data.title}: {len(paths):,} files, {size:,} bytes in {options.to}")
        if absent := len(data.files) - len(paths):
            print(f"{absent} more files have no address; name a --mirror for them")
        print(f"licence: {data.licence}")
        if finish:
            finish(options.to, options.mirror)

    return guarded(parser.prog, work)
