"""Measure what a cluster can do here: pictures a second by workers, calls, and a list of names.

    python -m book.experiments.bench_scale [--out FILE.json]

Throughput is the time on a clock, so other programs on the machine count: the report says how busy
it was. Workers are processes of this machine, one thread each; their start is not counted.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from book.experiments.bench_codecs import processor
from data_scripts.command import Parser, guarded
from mrdcae_lite.io.batch import Compression, Outcome, convert, plan
from mrdcae_lite.io.cluster import map_on_cluster
from mrdcae_lite.io.images import sample, sample_names, write_image

SIDE, PICTURES = 256, 96
CALLS = 2000
NAMES = 100_000
WORKERS = 1, 2
WARM = 8  # pictures before times are taken: each worker loads the codec


def crops(folder: Path, count: int) -> Iterator[Path]:
    """Write different crops of the bundled photographs, `SIDE` pixels square."""
    names = sample_names()
    for number in range(count):
        image = sample(names[number % len(names)])
        top, left = (number * step % (image.shape[0] - SIDE) for step in (37, 91))
        path = folder / f"{number:04d}.png"
        write_image(path, image[top : top + SIDE, left : left + SIDE])
        yield path


def throughput(folder: Path, to: Path, engine: str | None) -> float:
    """Pictures a second; those that were made while the workers loaded the codec do not count."""
    task = Compression(threads=1)
    outcomes = convert(task, plan(task, [folder], to).pairs, engine=engine)
    finished = [_checked(outcome) for outcome in outcomes]
    return (len(finished) - WARM) / (finished[-1] - finished[WARM - 1])


def _checked(outcome: Outcome) -> float:
    if outcome.state != "written":
        raise ValueError(f"expected a file that is written. Received: {outcome.said}")
    return time.monotonic()


def calls_a_second(engine: str) -> float:
    """How many calls that do nothing the engine hands out and brings back."""
    results = map_on_cluster(_nothing, range(CALLS), engine, 1, lambda *_: 0)
    list(islice(results, 100))
    started = time.monotonic()
    rest = sum(1 for _ in results)
    return rest / (time.monotonic() - started)


def _nothing(item: int) -> int:
    return item


def list_of_names(folder: Path, count: int) -> dict[str, float]:
    """Memory and time of the plan for a folder of so many files, which are empty."""
    for number in range(count):
        (folder / f"{number:07d}.png").touch()
    tracemalloc.start()
    started = time.monotonic()
    pairs = plan(Compression(), [folder], folder.parent / "out").pairs
    spent = time.monotonic() - started
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "names": len(pairs),
        "kept_bytes_a_name": round(kept / len(pairs), 1),
        "peak_bytes_a_name": round(peak / len(pairs), 1),
        "seconds": round(spent, 1),
    }


def measure(pictures: int = PICTURES, names: int = NAMES) -> dict[str, Any]:
    """All figures, with the machine they were measured on."""
    found: dict[str, Any] = {"command": "python -m book.experiments.bench_scale"}
    found |= {"processor": processor(), "cores": os.cpu_count(), "shared_machine": True}
    found |= {"side": SIDE, "pictures": pictures, "quality": 50}
    found["load_before"] = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        sizes = sum(path.stat().st_size for path in crops(folder / "in", pictures))
        found["source_bytes_a_picture"] = round(sizes / pictures)
        found["pictures_a_second"] = {}
        for workers in WORKERS:
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            ) as cluster:
                engine = cluster.scheduler_address.replace("tcp://", "dask://")
                out = folder / f"out{workers}"
                rate = throughput(folder / "in", out, engine)
                found["pictures_a_second"][str(workers)] = round(rate, 2)
                if workers == WORKERS[-1]:
                    found["calls_a_second"] = round(calls_a_second(engine))
        made = [path.stat().st_size for path in out.iterdir()]
        found["bytes_a_picture"] = round(math.fsum(made) / len(made))
        (folder / "names").mkdir()
        found["list"] = list_of_names(folder / "names", names)
    found["load_after"] = round(os.getloadavg()[0], 1)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures to a file where one is named."""
    parser: argparse.ArgumentParser = Parser(prog="book.experiments.bench_scale")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--names", type=int, default=NAMES, metavar="N", help="files to list")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_report, options.names, options.out))


def _report(names: int, out: Path | None) -> None:
    text = json.dumps(measure(names=names), indent=1) + "\n"
    if out:
        out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
