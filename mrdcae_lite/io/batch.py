"""Pictures to `.mrdc` files and back: one, or all of several folders or addresses.

Each file is written in one step. Among several, a bad file does not stop the others. What was made
already from the same source with the same options is not made again, so that a run that was
interrupted can simply be repeated; anything else that is in the way is left alone.
"""

import hashlib
import json
import math
import os
import time
import unicodedata
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.metadata import read_metadata
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.core.files import (
    one_line,
    part_prefix,
    shown,
    standard_error_kept,
)
from mrdcae_lite.core.quality import DEFAULT_EFFORT
from mrdcae_lite.io.addresses import identity, is_address, is_folder, opened, read, walk, write
from mrdcae_lite.io.images import (
    image_content,
    is_picture,
    is_whole_png,
    png_origin,
    read_content,
)
from mrdcae_lite.io.processes import MOST_JOBS, map_unordered
from mrdcae_lite.io.sizes import bits_per_pixel, compression_ratio
from mrdcae_lite.models import load, load_for

EXTENSION = ".mrdc"
ORIGIN_BYTES = 12

Pair = tuple[Path, Path]  # a source and its output
_Item = tuple[Path, Path, bool, bool]  # the same; whether records are kept, and it has one already


@dataclass(frozen=True)
class Made:
    """What became of a source.

    Attributes:
        content: the bytes of the output.
        facts: about it, by name: bytes, and of a `.mrdc` file bits_per_pixel, ratio, quality.
        left_out: in words, what of the source is not in it.
    """

    content: bytes
    facts: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The facts for a person."""
        said = f"{self.facts['bytes']} bytes"
        if "ratio" in self.facts:
            said += (
                f", {self.facts['bits_per_pixel']:.3f} bpp, {self.facts['ratio']:.1f}:1, "
                f"quality {self.facts['quality']}"
            )
        return f"{said}; left out: {', '.join(self.left_out)}" if self.left_out else said


class Task(Protocol):
    """A way to make one file from another; it can be pickled."""

    ending: ClassVar[str]

    def make(self, source: bytes, *, origin: bytes = b"") -> Made:
        """The output from the bytes of a source; raises `ValueError` for bad ones."""

    def takes(self, path: Path) -> bool:
        """Whether a file of a folder is meant as a source."""

    def origin(self, source: bytes) -> bytes:
        """What names the source and the options, `ORIGIN_BYTES` of them."""

    def origin_of(self, output: bytes) -> bytes:
        """The origin that was kept in an output; none in a file that this did not make."""

    def is_whole(self, output: bytes) -> bool:
        """Whether an output is neither cut off nor changed."""

    def psnr(self, source: bytes, output: bytes) -> float | None:
        """In dB, infinite if it is exact; None if one of them is no original."""


@dataclass(frozen=True)
class Compression:
    """From a picture to a `.mrdc` file, with its transparency and colour profile.

    Args:
        model: a shipped one or a codec file.
        quality, target_bpp, target_psnr, effort, threads: see `Codec.compress`.
        keep_exif: keep the camera's data, too.
        frame: which one of an animation or of several pages; 1 is the first.
    """

    model: str = "lite"
    quality: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    effort: int = DEFAULT_EFFORT
    keep_exif: bool = False
    frame: int = 1
    threads: int | None = None
    ending: ClassVar[str] = EXTENSION

    def make(self, source: bytes, *, origin: bytes = b"") -> Made:
        """Raises `ValueError` for a bad picture, or if a wish cannot be met."""
        read = read_content(source, keep_exif=self.keep_exif, frame=self.frame)
        data = load(self.model).compress(
            read.pixels,
            self.quality,
            target_bpp=self.target_bpp,
            target_psnr=self.target_psnr,
            effort=self.effort,
            metadata=replace(read.metadata, origin=origin),
            threads=self.threads,
        )
        facts = {
            "bytes": len(data),
            "bits_per_pixel": round(bits_per_pixel(data, read.pixels.shape), 5),
            "ratio": round(compression_ratio(data, read.pixels.shape), 3),
            "quality": bitstream.read_header(data).quality,
        }
        return Made(data, facts, read.left_out)

    def takes(self, path: Path) -> bool:
        return is_picture(path)

    def origin(self, source: bytes) -> bytes:
        return _origin(self, load(self.model).id, source)

    def origin_of(self, output: bytes) -> bytes:
        try:
            return read_metadata(output).origin
        except BitstreamError:
            return b""

    def is_whole(self, output: bytes) -> bool:
        try:
            bitstream.unpack(output)
        except BitstreamError:
            return False
        return True

    def psnr(self, source: bytes, output: bytes) -> float | None:
        image = read_content(source, frame=self.frame).pixels
        restored = load(self.model).decompress(output, threads=self.threads)
        return psnr(image, restored, data_range=255)


@dataclass(frozen=True)
class Decompression:
    """From a `.mrdc` file to a picture (see `write_image`), with all that was kept of it.

    Args:
        model: a codec file, if it is not a shipped one.
        level: 1, 2 or 3: how many levels to decode.
        threads: see `Codec.decompress`.
        kind: ending of the picture's file, which decides its format.
    """

    model: str | None = None
    level: int = 3
    threads: int | None = None
    kind: str = ".png"
    ending: ClassVar[str] = ".png"

    def make(self, source: bytes, *, origin: bytes = b"") -> Made:
        """Raises `ValueError` for a damaged file, or one that the format cannot hold."""
        header, _ = bitstream.unpack(source, levels=self.level)
        codec = load(self.model) if self.model else load_for(source)
        image = codec.decompress(source, level=self.level, threads=self.threads)
        metadata = replace(read_metadata(source), origin=origin)
        content = image_content(self.kind, image, metadata, grey=header.grey)
        return Made(content, {"bytes": len(content)})

    def takes(self, path: Path) -> bool:
        if path.suffix.lower() == EXTENSION:
            return True
        with opened(path) as file:
            return file.read(len(bitstream.MAGIC)) == bitstream.MAGIC

    def origin(self, source: bytes) -> bytes:
        return _origin(self, load(self.model).id if self.model else b"", source)

    def origin_of(self, output: bytes) -> bytes:
        return png_origin(output)

    def is_whole(self, output: bytes) -> bool:
        return is_whole_png(output)

    def psnr(self, source: bytes, output: bytes) -> float | None:
        return None


def _origin(options: Any, model: bytes, source: bytes) -> bytes:
    """A hash of all that decides a file; the number of threads does not."""
    chosen = asdict(replace(options, threads=None, model=None))
    named = json.dumps(chosen, sort_keys=True).encode() + model
    return hashlib.sha256(hashlib.sha256(named).digest() + source).digest()[:ORIGIN_BYTES]


# --- one file


def make(task: Task, content: bytes, origin: bytes = b"") -> Made:
    """Make an output from the bytes of a source.

    What libraries said on the way is among what is left out. Raises `ValueError` for a bad source,
    or if a wish cannot be met.
    """
    with standard_error_kept() as said:
        made = task.make(content, origin=origin)
    if said:
        more = f" and {len(said) - 1} lines more" if len(said) > 1 else ""
        made = replace(made, left_out=(*made.left_out, f"what a library said ({said[0]}{more})"))
    return made


# --- many files


class Pairs(Sequence[Pair]):
    """Pairs of files, made as they are asked for: a million take some 200 MB."""

    def __init__(self, ending: str) -> None:
        self._ending = ending
        self._rows: list[tuple[Path, Path, str]] = []  # two folders, and the name of the source

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        folder, into, name = self._rows[index]
        return folder / name, into / f"{Path(name).stem}{self._ending}"

    def put(self, folder: Path, into: Path, name: str, at: int | None = None) -> None:
        """Add a file that becomes another one in the folder `into`, or put it in a place."""
        row = folder, into, name
        if at is None:
            self._rows.append(row)
        else:
            self._rows[at] = row


class Plan(NamedTuple):
    """What a run over folders is to do: pairs of files, what it leaves out, what it cannot read."""

    pairs: Pairs
    left_out: list[Path]
    unreadable: list[OSError]


class Outcome(NamedTuple):
    """What became of a source of many.

    `state` is "written", "there already" or "failed"; `said` tells a person how, or what was wrong;
    `record` is for the manifest, if it is to have one.
    """

    state: str
    source: Path
    output: Path
    said: str
    made: Made | None = None
    record: dict[str, Any] | None = None


def plan(task: Task, sources: Sequence[Path], to: Path, *, recursive: bool = False) -> Plan:
    """The files that sources stand for, each with the file that it becomes in `to`.

    Args:
        task: what decides which files of a folder are taken.
        sources: files, and folders of files.
        to: where the results go; folders within a source are made again there.
        recursive: take the files of folders within folders, too.

    Raises:
        ValueError: if there is none, or two would become the same file, also where upper and lower
            case are not told apart.
    """
    pairs, places = Pairs(task.ending), dict[int, int]()  # by a hash of the output's name
    folders: dict[Path | None, Path] = {}  # one object for all files of a folder
    left_out: list[Path] = []
    unreadable: list[OSError] = []
    for folder, within, name in _files(sources, to, recursive, left_out, unreadable):
        if within is not None and not task.takes(folder / name):
            left_out.append(folder / name)
            continue
        into = folders.setdefault(within, to.joinpath(*(within or Path()).parts))
        output = f"{into}/{Path(name).stem}{task.ending}"
        key = hash(unicodedata.normalize("NFC", output).casefold())
        at = places.setdefault(key, len(pairs))
        if at < len(pairs) and not _same(other := pairs[at][0], folder / name):
            raise ValueError(
                f"expected different names. Received: {other} and {folder / name}, both of which "
                f"would become {output}. Rename one of them."
            )
        pairs.put(folder, into, name, at if at < len(pairs) else None)
    _check_sources(pairs)
    if not pairs:
        if unreadable:
            raise unreadable[0]
        named = ", ".join(map(str, sources))
        raise ValueError(
            f"no file in {named} can be taken; {len(left_out)} were looked at. Give another folder"
            f"{'' if recursive else ', or --recursive for the folders within'}."
        )
    return Plan(pairs, left_out, unreadable)


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file."""
    if is_address(one) or is_address(other):
        return str(one) == str(other)
    return one.samefile(other)


def _check_sources(pairs: Pairs) -> None:
    """Raise `ValueError` if an output would take the place of a source of the same run."""
    sources = {identity(source) for source, _ in pairs}
    for source, output in pairs:
        if (is_address(output) or output.exists()) and identity(output) in sources:
            raise ValueError(
                f"{output}, which is to be compressed as well, would be replaced by what is made "
                f"from {source}. Choose another folder."
                if not _same(output, source)
                else f"{source} would be replaced by what is made from it. Choose another folder."
            )


def _files(
    sources: Sequence[Path],
    to: Path,
    recursive: bool,
    left_out: list[Path],
    unreadable: list[OSError],
) -> Iterator[tuple[Path, Path | None, str]]:
    """All files, in order: a folder, its place within the source, and a name.

    The place is None for what was named itself.
    """
    for source in sources:
        if not is_folder(source):
            yield source.parent, None, source.name
            continue
        target = identity(to)
        for here, within, folders, names in walk(source, recursive, unreadable.append):
            folders[:] = sorted(name for name in folders if identity(here / name) != target)
            skipped = [name for name in folders if not recursive or _is_link(here / name)]
            left_out += [here / name for name in skipped]
            folders[:] = [name for name in folders if name not in skipped]
            yield from ((here, within, name) for name in sorted(names))


def _is_link(folder: Path) -> bool:
    return not is_address(folder) and folder.is_symlink()


def convert(
    task: Task,
    pairs: Sequence[Pair],
    *,
    jobs: int = 1,
    force: bool = False,
    engine: str | None = None,
    recorded: Container[Path] | None = None,
) -> Iterator[Outcome]:
    """Do a task for each pair of files; outcomes come as they are ready.

    Folders of outputs are made if they are not there. An output that was made from the same source
    with the same options, which it says itself, is left alone; any other is overwritten by force
    only.

    The task is a `Compression` or `Decompression`; `pairs` come from `plan`; 1 or more `jobs` are
    processes to share them among; `force` makes everything, whatever is there. The workers of an
    `engine` (see `cluster.map_on_cluster`) see the same folders, under the same absolute names.
    With the sources that are `recorded` already, outcomes of others, and of what is made now, have
    a `record`. Raises `ValueError` for other jobs, and what `map_unordered` raises.
    """
    if not 1 <= jobs <= MOST_JOBS:
        raise ValueError(
            f"jobs must be from 1 to {MOST_JOBS}. Received: {jobs}. Give the number of processes."
        )
    try:
        call = partial(_attempt, task, force)
        wanted = ((*pair, recorded is not None, pair[0] in (recorded or ())) for pair in pairs)
        yield from map_unordered(call, wanted, jobs, engine=engine, given_up=_given_up)
    except BaseException:
        if engine is not None:  # its workers may write on; the next run removes what they leave
            raise
        written = [output for _, output in pairs if not is_address(output)]
        ours = {part_prefix(output) for output in written}
        for folder in {output.parent for output in written}:
            for part in folder.glob(".*.part"):  # of a process that was ended while it wrote
                if part.name.partition("-")[0] + "-" in ours:
                    part.unlink(missing_ok=True)
        raise


def state_of(task: Task, source: Path, output: Path) -> str:
    """What would become of a source: "to write", "there already" or "in the way"."""
    if not is_address(source):
        with source.open("rb"):  # what cannot be read is no less a failure when nothing is done
            pass
    if is_address(output):
        try:
            content = read(output)
        except FileNotFoundError:
            return "to write"
    elif not os.path.lexists(output):
        return "to write"
    elif not output.is_file():
        return "in the way"
    else:
        content = output.read_bytes()
    made = task.origin_of(content)
    if made and made == task.origin(read(source)):
        return "there already" if task.is_whole(content) else "to write"
    return "in the way"


def would_become(task: Task, source: Path, output: Path, *, force: bool = False) -> Outcome:
    """What `convert` would do with a pair: a state of `state_of`, or "failed"."""
    try:
        state = state_of(task, source, output)
    except OSError as error:
        return Outcome("failed", source, output, one_line(error, source))
    return Outcome("to write" if force else state, source, output, "")


def _attempt(task: Task, force: bool, item: _Item) -> Outcome:
    """Do a task unless it is done already; what is wrong with its files becomes an outcome."""
    source, output, record, recorded = item
    started = time.perf_counter()
    try:
        check_own_input(source, output)
        state = "to write" if force else state_of(task, source, output)
        if state == "there already":
            facts = None
            if record and not recorded:
                facts = _record(task, read(source), read(output))
            said = "there already (--force makes it again)"
            return Outcome(state, source, output, said, record=facts)
        if state == "in the way":
            raise FileExistsError(
                f"{output} exists, and was not made from this file with these options. Choose "
                "another folder, or overwrite everything with --force."
            )
        content = read(source)
        made = make(task, content, task.origin(content))
        write(output, made.content)
        spent = round(time.perf_counter() - started, 3)
        facts = _record(task, content, made.content, spent) if record else None
        return Outcome("written", source, output, made.line, replace(made, content=b""), facts)
    except (OSError, ValueError, MemoryError) as error:
        said = one_line(error, source)
        facts = {"options": _options(task), "error": said} if record else None
        return Outcome("failed", source, output, said, record=facts)


def _record(
    task: Task, source: bytes, output: bytes, seconds: float | None = None
) -> dict[str, Any]:
    """The line of a manifest about a file that is there, but for its name (see `manifest`)."""
    decibels = task.psnr(source, output)
    exact = decibels == math.inf
    return {
        "sha256": hashlib.sha256(source).hexdigest(),
        "options": _options(task),
        "bytes": len(output),
        "psnr": None if exact or decibels is None else round(decibels, 3),
        "exact": exact,
        "seconds": seconds,
        "error": None,
    }


def _options(task: Any) -> dict[str, Any]:
    """What was asked for; the number of threads changes nothing."""
    return {name: value for name, value in asdict(task).items() if name != "threads"}


def _given_up(item: _Item, why: str) -> Outcome:
    source, output, record, _ = item
    said = f"{shown(source)}: expected a file that a worker survives. Received: {why} Take it out."
    return Outcome("failed", source, output, said, record={"error": said} if record else None)


def check_own_input(source: Path, output: Path) -> None:
    """Raise `ValueError` if a file would be replaced by what is made from it."""
    if is_address(output) or is_address(source):
        same = str(output) == str(source)
    else:
        same = output.exists() and source.exists() and output.samefile(source)
    if same:
        raise ValueError(
            f"{source} would be replaced by what is made from it. Choose another name."
        )
