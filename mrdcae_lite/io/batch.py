"""Pictures to `.mrdc` files and back: one, or all of several folders.

Each file is written in one step. Among several, a bad file does not stop the others. What was made
already from the same source with the same options is not made again, so that a run that was
interrupted can simply be repeated; anything else that is in the way is left alone.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.metadata import read_metadata
from mrdcae_lite.core.files import (
    one_line,
    part_prefix,
    shown,
    standard_error_kept,
    write_atomically,
)
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


@dataclass(frozen=True)
class Compression:
    """From a picture to a `.mrdc` file, with its transparency and colour profile.

    Args:
        model: a shipped one or a codec file.
        quality, target_bpp, target_psnr, rdoq, threads: see `Codec.compress`.
        keep_exif: keep the camera's data, too.
        frame: which one of an animation or of several pages; 1 is the first.
    """

    model: str = "lite"
    quality: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    rdoq: bool = True
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
            rdoq=self.rdoq,
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
        with path.open("rb") as file:
            return file.read(len(bitstream.MAGIC)) == bitstream.MAGIC

    def origin(self, source: bytes) -> bytes:
        return _origin(self, load(self.model).id if self.model else b"", source)

    def origin_of(self, output: bytes) -> bytes:
        return png_origin(output)

    def is_whole(self, output: bytes) -> bool:
        return is_whole_png(output)


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


class Plan(NamedTuple):
    """What a run over folders is to do: pairs of files, what it leaves out, what it cannot read."""

    pairs: list[Pair]
    left_out: list[Path]
    unreadable: list[OSError]


class Outcome(NamedTuple):
    """What became of a source of many.

    `state` is "written", "there already" or "failed"; `said` tells a person how, or what was wrong.
    """

    state: str
    source: Path
    output: Path
    said: str
    made: Made | None = None


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
    found: dict[str, Pair] = {}
    left_out: list[Path] = []
    unreadable: list[OSError] = []
    for source, within in _files(sources, to, recursive, left_out, unreadable):
        if within is not None and not task.takes(source):
            left_out.append(source)
            continue
        output = to / (within or Path()) / f"{source.stem}{task.ending}"
        name = unicodedata.normalize("NFC", str(output)).casefold()
        other = found[name][0] if name in found else source
        if not other.samefile(source):
            raise ValueError(
                f"expected different names. Received: {other} and {source}, both of which would "
                f"become {output}. Rename one of them."
            )
        found[name] = source, output
    _check_sources(found.values())
    if not found:
        if unreadable:
            raise unreadable[0]
        named = ", ".join(map(str, sources))
        raise ValueError(
            f"no file in {named} can be taken; {len(left_out)} were looked at. Give another folder"
            f"{'' if recursive else ', or --recursive for the folders within'}."
        )
    return Plan(list(found.values()), left_out, unreadable)


def _check_sources(pairs: Iterable[Pair]) -> None:
    """Raise `ValueError` if an output would take the place of a source of the same run."""
    pairs = list(pairs)
    sources = {os.path.realpath(source) for source, _ in pairs}
    for source, output in pairs:
        if output.exists() and os.path.realpath(output) in sources:
            raise ValueError(
                f"{output}, which is to be compressed as well, would be replaced by what is made "
                f"from {source}. Choose another folder."
                if not output.samefile(source)
                else f"{source} would be replaced by what is made from it. Choose another folder."
            )


def _files(
    sources: Sequence[Path],
    to: Path,
    recursive: bool,
    left_out: list[Path],
    unreadable: list[OSError],
) -> Iterator[tuple[Path, Path | None]]:
    """All files, in order, with their folder within the source; None for what was named itself."""
    for source in sources:
        if not source.is_dir():
            yield source, None
            continue
        target = to.resolve()
        for top, folders, names in os.walk(source, onerror=unreadable.append):
            here = Path(top)
            folders[:] = sorted(name for name in folders if (here / name).resolve() != target)
            skipped = [name for name in folders if not recursive or (here / name).is_symlink()]
            left_out += [here / name for name in skipped]
            folders[:] = [name for name in folders if name not in skipped]
            yield from ((here / name, here.relative_to(source)) for name in sorted(names))


def convert(
    task: Task,
    pairs: Sequence[Pair],
    *,
    jobs: int = 1,
    force: bool = False,
    engine: str | None = None,
) -> Iterator[Outcome]:
    """Do a task for each pair of files; outcomes come as they are ready.

    Folders of outputs are made if they are not there. An output that was made from the same source
    with the same options, which it says itself, is left alone; any other is overwritten by force
    only.

    The task is a `Compression` or `Decompression`; `pairs` come from `plan`; 1 or more `jobs` are
    processes to share them among; `force` makes everything, whatever is there. The workers of an
    `engine` (see `cluster.map_on_cluster`) see the same folders, under the same absolute names.
    Raises `ValueError` for other jobs, and what `map_unordered` raises.
    """
    if not 1 <= jobs <= MOST_JOBS:
        raise ValueError(
            f"jobs must be from 1 to {MOST_JOBS}. Received: {jobs}. Give the number of processes."
        )
    try:
        call = partial(_attempt, task, force)
        yield from map_unordered(call, pairs, jobs, engine=engine, given_up=_given_up)
    except BaseException:
        if engine is not None:  # its workers may write on; the next run removes what they leave
            raise
        ours = {part_prefix(output) for _, output in pairs}
        for folder in {output.parent for _, output in pairs}:
            for part in folder.glob(".*.part"):  # of a process that was ended while it wrote
                if part.name.partition("-")[0] + "-" in ours:
                    part.unlink(missing_ok=True)
        raise


def state_of(task: Task, source: Path, output: Path) -> str:
    """What would become of a source: "to write", "there already" or "in the way"."""
    with source.open("rb"):  # what cannot be read is no less a failure when nothing is done
        pass
    if not os.path.lexists(output):
        return "to write"
    if output.is_file():
        content = output.read_bytes()
        made = task.origin_of(content)
        if made and made == task.origin(source.read_bytes()):
            return "there already" if task.is_whole(content) else "to write"
    return "in the way"


def would_become(task: Task, source: Path, output: Path, *, force: bool = False) -> Outcome:
    """What `convert` would do with a pair: a state of `state_of`, or "failed"."""
    try:
        state = state_of(task, source, output)
    except OSError as error:
        return Outcome("failed", source, output, one_line(error, source))
    return Outcome("to write" if force else state, source, output, "")


def _attempt(task: Task, force: bool, pair: Pair) -> Outcome:
    """Do a task unless it is done already; what is wrong with its files becomes an outcome."""
    source, output = pair
    try:
        check_own_input(source, output)
        state = "to write" if force else state_of(task, source, output)
        if state == "there already":
            return Outcome(state, source, output, "there already (--force makes it again)")
        if state == "in the way":
            raise FileExistsError(
                f"{output} exists, and was not made from this file with these options. Choose "
                "another folder, or overwrite everything with --force."
            )
        content = source.read_bytes()
        made = make(task, content, task.origin(content))
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, made.content)
        return Outcome("written", source, output, made.line, replace(made, content=b""))
    except (OSError, ValueError, MemoryError) as error:
        return Outcome("failed", source, output, one_line(error, source))


def _given_up(pair: Pair, why: str) -> Outcome:
    source, output = pair
    said = f"{shown(source)}: expected a file that a worker survives. Received: {why} Take it out."
    return Outcome("failed", source, output, said)


def check_own_input(source: Path, output: Path) -> None:
    """Raise `ValueError` if a file would be replaced by what is made from it."""
    if output.exists() and source.exists() and output.samefile(source):
        raise ValueError(
            f"{source} would be replaced by what is made from it. Choose another name."
        )
