"""A picture or a folder of pictures to `.mrdc` files, and back.

Each file is written in one step. In a folder a bad file does not stop the others, and what is there
already is not made again, so that a run that was interrupted can simply be repeated.
"""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.metadata import read_metadata
from mrdcae_lite.core.files import list_files, one_line, write_atomically
from mrdcae_lite.extras import extra
from mrdcae_lite.io.images import read_picture, write_image
from mrdcae_lite.io.sizes import bits_per_pixel, compression_ratio
from mrdcae_lite.models import load, load_for

EXTENSION = ".mrdc"

Item = TypeVar("Item")
Result = TypeVar("Result")
Pair = tuple[Path, Path]  # a source and its output
Task = Callable[[Path, Path], str]  # makes the second from the first, returns a line about it


class Outcome(NamedTuple):
    """What became of a file of a folder.

    `state` is "written", "there already" or "failed"; `line` names the file, or says what was
    wrong.
    """

    state: str
    line: str


def compress_file(
    source: Path, output: Path, *, model: str = "lite", keep_exif: bool = False, **how: Any
) -> str:
    """Write a picture as a `.mrdc` file, with its transparency and colour profile.

    Returns a line about it. `model` is a shipped one or a codec file, `keep_exif` keeps the
    camera's data, too, `how` is quality, target_bpp, target_psnr, rdoq, threads: see
    `Codec.compress`.
    Raises `ValueError` or `OSError` if a file cannot be read or written, or a wish cannot be met.
    """
    image, metadata = read_picture(source, keep_exif=keep_exif)
    data = load(model).compress(image, metadata=metadata, **how)
    write_atomically(output, data)
    bpp, ratio = bits_per_pixel(data, image.shape), compression_ratio(data, image.shape)
    quality = bitstream.read_header(data).quality
    return f"{output}: {len(data)} bytes, {bpp:.3f} bpp, {ratio:.1f}:1, quality {quality}"


def decompress_file(
    source: Path,
    output: Path,
    *,
    model: str | None = None,
    level: int = 3,
    threads: int | None = None,
) -> str:
    """Write a `.mrdc` file as a picture (see `write_image`), with all that was kept of it.

    Returns a line about it. `model` is a codec file, if it is not a shipped one, `level` is 1, 2 or
    3: how many levels to decode, `threads` how many tiles at a time. Raises `ValueError` or
    `OSError` if a file is damaged or cannot be read or written.
    """
    data = source.read_bytes()
    header, _ = bitstream.unpack(data, levels=level)
    codec = load(model) if model else load_for(data)
    image = codec.decompress(data, level=level, threads=threads)
    write_image(output, image, read_metadata(data), grey=header.grey)
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

    The task is `compress_file` or `decompress_file`, with their options filled in by `partial`;
    `pairs` come from `plan`; 1 or more `jobs` are processes to share them among; `force` makes
    everything, whatever is there. Raises `ValueError` for other jobs, `OSError` if the folder of
    the outputs cannot be made, and `ImportError` and `MemoryError` as `map_unordered` does.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more. Received: {jobs}. Give the number of processes.")
    folders = {output.parent for _, output in pairs}
    for folder in folders:
        folder.mkdir(exist_ok=True)
    others = _parts(folders)
    try:
        yield from map_unordered(partial(_attempt, task, force), pairs, jobs)
    except BaseException:
        for part in _parts(folders) - others:  # of a process that was ended while it wrote
            part.unlink(missing_ok=True)
        raise


def map_unordered(
    call: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """The results of a call, which can be pickled, for each item, as they are ready.

    One job is this process; among several, twice as many items as there are processes are handed
    out at a time. Each process multiplies matrices with one thread: libraries start as many threads
    as there are cores in every process, and would wait for one another. Raises `ImportError` if
    there are several and joblib, which runs them, is not installed, `MemoryError` if the system
    ended one.
    """
    if jobs == 1:
        yield from map(call, items)
        return
    with extra("batch"):
        from joblib import Parallel, delayed, parallel_config
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(jobs, return_as="generator_unordered", batch_size=1)
    here = partial(_in_folder, Path.cwd(), call)
    with _interrupts_ignored():  # the processes that this starts inherit it, and are ended by ours
        results = parallel(delayed(here)(item) for item in items)
    try:
        for result in results:  # noqa: UP028 - `yield from` would close them, with a warning
            yield result
    except BrokenProcessPool as error:
        raise MemoryError(
            "a process was ended by the system, most likely for lack of memory. "
            "Run it again with fewer jobs."
        ) from error
    finally:
        with warnings.catch_warnings(action="ignore"):  # that calls were not waited for
            results.close()


def _parts(folders: Iterable[Path]) -> set[Path]:
    """Files that `write_atomically` has begun."""
    return {part for folder in folders for part in folder.glob(".*.part")}


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C; only the main thread, which gets it, can say so."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


def _in_folder(folder: Path, call: Callable[[Item], Result], item: Item) -> Result:
    """A call in a process that may have been started elsewhere."""
    os.chdir(folder)
    return call(item)


def _attempt(task: Task, force: bool, pair: Pair) -> Outcome:
    """Do a task unless it is done already; what is wrong with its files becomes an outcome."""
    source, output = pair
    try:
        if output.exists() and not force:
            if output.stat().st_mtime_ns >= source.stat().st_mtime_ns:
                return Outcome("there already", f"{output}: there already (--force makes it again)")
            if output.suffix != EXTENSION:
                raise FileExistsError(
                    f"{output} exists and is older. Choose another folder, or overwrite "
                    "everything with --force."
                )
        return Outcome("written", task(source, output))
    except (OSError, ValueError, MemoryError) as error:
        return Outcome("failed", one_line(error, source))
