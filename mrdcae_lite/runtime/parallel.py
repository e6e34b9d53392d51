"""Threads for tiles: as many as there are processors, each with one thread of linear algebra.

Matrix products release Python's lock, so tiles are computed side by side. Threads that the linear
algebra library starts by itself would not be: they share one small product and, on a busy machine,
spin while they wait for one another.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

VARIABLE = "MRDCAE_THREADS"
"""Environment variable with the number of threads, where nothing else is said."""

MOST_THREADS = 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(threads: int | None = None) -> int:
    """How many threads to use: `threads`, or the environment variable, or a processor each.

    Raises:
        ValueError: unless it is a whole number from 1 to `MOST_THREADS`.
    """
    if threads is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            return _processors()
        if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
            raise ValueError(
                f"{VARIABLE} must be a whole number from 1 to {MOST_THREADS}. Received: {text!r}. "
                "Unset it to use every processor."
            )
        return int(text)
    whole = isinstance(threads, int | np.integer) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise ValueError(
            f"threads must be a whole number from 1 to {MOST_THREADS}. Received: {threads!r}. "
            "Leave it out to use every processor."
        )
    return int(threads)


def _processors() -> int:
    """Those that this process may run on, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def tile_threads(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool for the tiles of a picture; meanwhile linear algebra keeps to one thread each."""
    with _ONE_EACH, ThreadPoolExecutor(threads) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def ordered_map(
    call: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """The results of a call for each item, in order; a few are computed ahead."""
    with tile_threads(threads) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(call, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _OneEach:
    """Context in which linear algebra uses one thread: set by the first in, undone by the last."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit = _controller().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()


_ONE_EACH = _OneEach()


@cache
def _controller() -> ThreadpoolController:
    """The linear algebra libraries of this process; looking for them takes a moment."""
    return ThreadpoolController()
