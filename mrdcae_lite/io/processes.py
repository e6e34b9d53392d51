"""Work shared among processes: those of this machine, or those of a cluster."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from mrdcae_lite.extras import extra
from mrdcae_lite.io.cluster import map_on_cluster

MOST_JOBS = 256
"""Processes that may be asked for: each takes a hundred megabytes."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_unordered(
    call: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    engine: str | None = None,
    given_up: Callable[[Item, str], Result] | None = None,
) -> Iterator[Result]:
    """The results of a call, which can be pickled, for each item, as they are ready.

    One job is this process; among several, twice as many items as there are processes are handed
    out at a time. Each process multiplies matrices with one thread: libraries start as many threads
    as there are cores in every process, and would wait for one another. Raises `ImportError` if
    there are several and joblib, which runs them, is not installed, `MemoryError` if the system
    ended one. With an `engine` and what to do with items that it gave up, see `map_on_cluster`.
    """
    if engine is not None and given_up is not None:
        yield from map_on_cluster(call, items, engine, jobs, given_up)
        return
    if jobs == 1:
        yield from map(call, items)
        return
    with extra("batch"):
        from joblib import Parallel, delayed, parallel_config
    watched = {"initializer": _end_with, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", inner_max_num_threads=1, **watched):
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


def _end_with(parent: int) -> None:
    """End this process, wherever it is, soon after its parent has ended without a word."""
    if os.name != "posix":  # elsewhere nobody tells
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
