"""Work shared among the workers of a Dask scheduler, on this machine or on others.

Dask looks after the workers: what one was doing when it ended is done by another one, as often as
its setting `distributed.scheduler.allowed-failures` says. joblib's own back end for Dask is not
used: it waits for ever for a call that Dask has given up.
"""

import logging
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from mrdcae_lite.extras import extra

PATIENCE = 60
"""Seconds to wait for a first worker, or for another one when none is left."""

CONNECTING = 10  # seconds to wait for a scheduler
LOOKING = 2  # seconds between two looks at the workers
AHEAD = 4  # calls that are handed out for each thread of a worker

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_engine(engine: str) -> None:
    """Raise `ValueError` unless an engine is "dask" or "dask://HOST:PORT"."""
    if not re.fullmatch(r"dask(://[^/\s]+:\d+)?", engine):
        raise ValueError(
            "expected an engine of dask, for processes of this machine, or dask://HOST:PORT, the "
            f"address of a scheduler. Received: {engine!r}. Start one with `dask scheduler`."
        )


def map_on_cluster(
    call: Callable[[Item], Result],
    items: Iterable[Item],
    engine: str,
    jobs: int,
    given_up: Callable[[Item, str], Result],
) -> Iterator[Result]:
    """The results of a call, which can be pickled, for each item, as they are ready.

    Items are taken as they are needed: four are handed out for each thread of a worker.

    Args:
        call: made once for each item, and again if its worker ends before it does.
        items: as many as there are.
        engine: see `check_engine`.
        jobs: processes of the engine "dask"; a scheduler has workers of its own.
        given_up: the result for an item that ended one worker after the other, and why.

    Raises:
        ImportError: if Dask is missing here, or the package on the scheduler or a worker.
        ConnectionError: if the scheduler cannot be reached, goes away, or has no worker.
    """
    check_engine(engine)
    with extra("cluster"):
        from distributed import KilledWorker
        from distributed.comm import CommClosedError
    suspects: list[Item] = []  # what a worker was doing, or was to do next, when it ended
    with _quiet(), _client(engine, jobs) as client:
        workers = _Workers(client, engine)
        try:
            for item, future in _handed_out(call, items, client, workers):
                try:
                    result = future.result()
                except KilledWorker:
                    suspects.append(item)
                else:
                    yield result
            for suspect in suspects:  # by itself, it ends nobody else's work
                for item, future in _handed_out(call, [suspect], client, workers):
                    try:
                        result = future.result()
                    except KilledWorker:
                        result = given_up(item, "it ended one worker after the other.")
                    yield result
        except (CancelledError, OSError) as error:
            lost = isinstance(error, CancelledError | CommClosedError)
            if client.status == "running" and not lost:  # it is the call's own
                raise
            raise ConnectionError(
                f"the scheduler {engine} went away. Start it and its workers, and run this again: "
                "what is done stays done."
            ) from error


def _handed_out(
    call: Callable[[Item], Result], items: Iterable[Item], client: Any, workers: "_Workers"
) -> Iterator[tuple[Item, Any]]:
    """Each item with its future, as it is done; as few as keep the workers busy are handed out."""
    from distributed import wait

    remaining = iter(items)
    waiting: dict[Any, Item] = {}
    try:
        while True:
            for item in islice(remaining, max(0, AHEAD * workers.threads() - len(waiting))):
                waiting[client.submit(call, item, pure=False)] = item
            if not waiting:
                return
            done: Iterable[Any] = ()
            with suppress(TimeoutError), client.as_current():
                done = wait(list(waiting), LOOKING, "FIRST_COMPLETED").done
            for future in done:
                yield waiting.pop(future), future
    finally:
        with suppress(Exception):  # the scheduler may be gone
            if waiting and client.status == "running":
                client.cancel(list(waiting))


class _Workers:
    """How many threads the workers have, looked up now and then."""

    def __init__(self, client: Any, engine: str) -> None:
        self.client, self.engine = client, engine
        self.count, self.looked, self.seen = 1, -float("inf"), time.monotonic()

    def threads(self) -> int:
        """At least 1; raises `ConnectionError` if there was no worker for too long."""
        now = time.monotonic()
        if now - self.looked < LOOKING:
            return self.count
        found = sum(self.client.nthreads().values())
        self.looked = now
        if found:
            self.seen = now
        elif now - self.seen > PATIENCE:
            raise ConnectionError(
                f"the scheduler {self.engine} has no worker, and none came in {PATIENCE} seconds. "
                "Start workers with `dask worker`, and run this again: what is done stays done."
            )
        self.count = max(1, found)
        return self.count


@contextmanager
def _client(engine: str, jobs: int) -> Iterator[Any]:
    """A client of the scheduler, which is started with its workers if no address is given."""
    from distributed import Client, LocalCluster

    if engine == "dask":
        with _interrupts_held_back():
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL + 1,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    address = f"tcp://{engine.removeprefix('dask://')}"
    try:
        client = Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"expected a scheduler at {engine}. Received: no answer in {CONNECTING} seconds. Start "
            "it with `dask scheduler`, or check the address."
        ) from error
    with client:
        yield client


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a Ctrl-C come afterwards, and not at all to processes of threads that are started here.

    A terminal sends it to all processes; ours ends the others.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which lets them through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask log nothing: what goes wrong becomes an error of ours."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
