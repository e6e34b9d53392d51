"""A picture or a folder of pictures to `.mrdc` files, and back.

Each file is written in one step. In a folder a bad file does not stop the others, and what is there
already is not made again, so that a run that was interrupted can simply be repeated.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mrdcae_lite.coding import bitstream, metadata
from mrdcae_lite.core.distortion import bits_per_pixel, compression_ratio
from mrdcae_lite.core.files import list_files, one_line, write_atomically
from mrdcae_lite.io.images import read_picture, write_image
from mrdcae_lite.models import load, load_for

EXTENSION = ".mrdc"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")

Task = Callable[[Path, Path], str]
"""Makes the second file from the first and returns a line about it."""

Pair = tuple[Path, Path]
"""A source and its output."""


class Outcome(NamedTuple):
    """What became of a file of a folder.

    Attributes:
        state: "written", "there already" or "failed".
        line: names the file, or says what was wrong.
    """

    state: str
    line: str


def compress_file(
    source: Path, output: Path, *, model: str = "lite", keep_exif: bool = False, **how: Any
) -> str:
    """Write a picture as a `.mrdc` file, with its transparency and colour profile.

    Args:
        source: picture, read by `read_picture`.
        output: file to write.
        model: shipped model or codec file.
        keep_exif: keep the camera's data, too.
        how: quality, target_bpp, target_psnr, rdoq: see `Codec.compress`.

    Raises:
        ValueError, OSError: if a file cannot be read or written, or a wish cannot be met.
    """
    image, kept = read_picture(source, keep_exif=keep_exif)
    data = load(model).compress(image, metadata=kept, **how)
    write_atomically(output, data)
    bpp, ratio = bits_per_pixel(data, image.shape), compression_ratio(data, image.shape)
    quality = bitstream.read_header(data).quality
    return f"{output}: {len(data)} bytes, {bpp:.3f} bpp, {ratio:.1f}:1, quality {quality}"


def decompress_file(source: Path, output: Path, *, model: str | None = None, level: int = 3) -> str:
    """Write a `.mrdc` file as a picture, with all that was kept of it.

    Args:
        source: `.mrdc` file.
        output: picture to write, see `write_image`.
        model: codec file, if it is not a shipped one.
        level: 1, 2 or 3: how many levels to decode.

    Raises:
        ValueError, OSError: if a file is damaged or cannot be read or written.
    """
    data = source.read_bytes()
    header, _ = bitstream.unpack(data, levels=level)
    codec = load(model) if model else load_for(data)
    image = codec.decompress(data, level=level)
    write_image(output, image, metadata.read_metadata(data), grey=header.grey)
    return f"{output}: {output.stat().st_size} bytes"


def plan(folder: Path, to: Path, endings: Sequence[str], new_ending: str) -> list[Pair]:
    """Each file of a folder that has one of the endings, with the file that it becomes in `to`.

    Raises `ValueError` if there is none, or if two would become the same file.
    """
    sources: dict[Path, Path] = {}
    for source in list_files(folder, endings):
        output = to / f"{source.stem}{new_ending}"
        if output in sources:
            raise ValueError(
                f"expected different names. Received: {sources[output].name} and {source.name}, "
                f"both of which would become {output}. Rename one of them."
            )
        sources[output] = source
    if not sources:
        raise ValueError(f"no file in {folder} ends in {' '.join(endings)}. Give another folder.")
    return [(source, output) for output, source in sources.items()]


def convert(
    task: Task, pairs: Sequence[Pair], *, jobs: int = 1, force: bool = False
) -> Iterator[Outcome]:
    """Do a task for each pair of files; outcomes come as they are ready.

    The folder of the outputs is made if it is not there. An output that is not older than its
    source is left alone; an older one is made again if it is a `.mrdc` file, but a picture, which
    may be an original, is overwritten by force only.

    Args:
        task: `compress_file` or `decompress_file`, with their options filled in by `partial`.
        pairs: sources and outputs, see `plan`.
        jobs: processes to share the pictures among; more than one from the main thread only.
        force: make everything, whatever is there.

    Raises:
        ValueError: if `jobs` is less than 1.
        OSError: if the folder of the outputs cannot be made.
        MemoryError: if the system ended a process.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more. Received: {jobs}. Give the number of processes.")
    for folder in {output.parent for _, output in pairs}:
        folder.mkdir(exist_ok=True)
    yield from shared(partial(_attempt, task, force), pairs, jobs)


def shared(call: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """The results of a call for each item, as they are ready.

    Args:
        call: what to do, importable by other processes if there are any.
        items: no more of them are begun than there are processes: Ctrl-C ends it at once.
        jobs: processes; 1 is this one.

    Raises:
        MemoryError: if the system ended a process.
    """
    if jobs == 1:
        yield from map(call, items)
        return
    with processes(jobs) as pool:
        running: set[Future[Result]] = set()
        try:
            for item in items:
                if len(running) == jobs:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(_submit(pool, call, item))
            yield from (future.result() for future in as_completed(running))
        except BrokenProcessPool as error:
            raise MemoryError(
                "a process was ended by the system, most likely for lack of memory. "
                "Run it again with fewer jobs."
            ) from error


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that multiply matrices with one thread each.

    Libraries start as many threads as there are cores in every process. Two processes on two cores
    then wait for one another's threads and take ten times as long. What the user has set stays.
    """
    ours = {name: "1" for name in _THREADS if name not in os.environ}
    os.environ.update(ours)
    try:
        # A forked process may inherit the locks of threads that it does not have.
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            yield pool
    finally:
        for name in ours:
            del os.environ[name]


def _attempt(task: Task, force: bool, pair: Pair) -> Outcome:
    """Do a task unless it is done already; what is wrong with its files becomes an outcome."""
    source, output = pair
    try:
        if output.exists() and not force:
            if output.stat().st_mtime_ns >= source.stat().st_mtime_ns:
                line = f"{output}: there already (--force makes it again)"
                return Outcome("there already", line)
            if output.suffix != EXTENSION:
                raise FileExistsError(
                    f"{output} exists and is older. Choose another folder, or overwrite "
                    "everything with --force."
                )
        return Outcome("written", task(source, output))
    except (OSError, ValueError, MemoryError) as error:
        return Outcome("failed", one_line(error, source))


def _submit(
    pool: ProcessPoolExecutor, call: Callable[[Item], Result], item: Item
) -> Future[Result]:
    """Start a call. The process for it, if it is new, inherits that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(_interruptible, call, item)
    finally:
        signal.signal(signal.SIGINT, before)


def _interruptible(call: Callable[[Item], Result], item: Item) -> Result:
    """In a process of the pool: let Ctrl-C end the call, so that it can clean up, and no more."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return call(item)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
