"""Measure codecs side by side: speed, the cost of routing, overhead, time and memory by size.

`make bench` runs it with one thread for every library. All figures are of one machine and one
run: compare them with each other, not with those of another day.

    python -m book.experiments.bench_codecs [--out FILE.json]
"""

import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import mrdcae_lite as mr
from data_scripts.command import Parser, guarded
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.core.quality import DEFAULT_EFFORT, HIGHEST_EFFORT
from mrdcae_lite.core.tiling import Tiling
from mrdcae_lite.evaluation import inspection
from mrdcae_lite.evaluation.baselines import BASELINES, best_within
from mrdcae_lite.evaluation.benchmark import SLOWEST
from mrdcae_lite.evaluation.inspection import routing_information
from mrdcae_lite.evaluation.report import OURS

RATES = (0.5, 1.0)  # bits per pixel at which speeds are compared
SIZES = (0.1, 0.4, 1.6, 6.4, 12.0, 25.0, 50.0)  # megapixels
CORES_SIZES = (4.2, 12.0)  # megapixels
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of patches that get the low level alone
SWEEP = (10, 25, 40, 55, 70)
QUALITY = 40
AGAINST = "avif"


def processor() -> str:
    """Name of the machine's processor, to be written beside what was timed on it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def cpu_seconds(
    task: Callable[[], Any], repeats: int = 3, clock: Callable[[], float] = time.process_time
) -> float:
    """CPU seconds of a task, or those of another clock, the least of several times."""
    taken = []
    for _ in range(repeats):
        started = clock()
        task()
        taken.append(clock() - started)
    return min(taken)


wall_seconds = partial(cpu_seconds, clock=time.perf_counter)  # seconds on the clock


def megapixels(image: RGB) -> float:
    """Size of a picture."""
    return image.shape[0] * image.shape[1] / 1e6


def _ours(codec: mr.Codec, effort: int, image: RGB, rate: float) -> tuple[Callable[[], bytes], Any]:
    compress = partial(codec.compress, image, effort=effort, threads=1)
    quality = mr.info(compress(target_bpp=rate)).quality
    return partial(compress, quality), partial(codec.decompress, threads=1)


def _theirs(name: str, image: RGB, rate: float) -> tuple[Callable[[], bytes], Any]:
    baseline = BASELINES[name]
    quality, _ = best_within(baseline, image, int(rate * image.shape[0] * image.shape[1] / 8))
    return partial(baseline.encode, image, quality), baseline.decode


def speed(name: str, rate: float, images: Sequence[RGB]) -> dict[str, Any]:
    """A codec at a rate: megapixels per CPU second, over all pictures."""
    efforts = {OURS: DEFAULT_EFFORT, SLOWEST: HIGHEST_EFFORT}
    own = name in efforts
    find = partial(_ours, mr.load(), efforts[name]) if own else partial(_theirs, name)
    encode_s = decode_s = size = 0.0
    for image in images:
        encode, decode = find(image, rate)
        data = encode()
        size += len(data)
        encode_s += cpu_seconds(encode)
        decode_s += cpu_seconds(partial(decode, data))
    total = sum(map(megapixels, images))
    return {
        "codec": name,
        "bpp": size * 8e-6 / total,
        "encode_mp_per_s": total / encode_s,
        "decode_mp_per_s": total / decode_s,
    }


def routing_cost(images: Sequence[RGB]) -> list[dict[str, float]]:
    """Decode speed against the share of patches whose medium and high level is off.

    The patches of lowest saliency are switched off first; the rest keep all three levels.
    """
    codec, rows = mr.load(), []
    for share in SHARES:
        taken = size = 0.0
        for image in images:
            scores = codec.saliency(image, QUALITY)
            order = np.argsort(scores.ravel())
            routing = np.full(scores.size, 3, np.uint8)
            routing[order[: round(share * scores.size)]] = 1
            data = codec.compress(image, QUALITY, routing=routing.reshape(scores.shape))
            taken += cpu_seconds(partial(codec.decompress, data, threads=1))
            size += len(data)
        total = sum(map(megapixels, images))
        bpp = size * 8e-6 / total
        rows.append({"low_share": share, "bpp": bpp, "decode_mp_per_s": total / taken})
    return rows


def overhead(images: Mapping[str, RGB]) -> list[dict[str, Any]]:
    """Bytes of real files against the information content of their symbols and routing maps."""
    codec, rows = mr.load(), []
    for name, image in images.items():
        for quality in SWEEP:
            data = codec.compress(image, quality)
            _, routing, header = codec.read_symbols(data)
            bits = [float(level.sum()) for level in inspection.information(codec.model, data)]
            content = (sum(bits) + routing_information(routing)) / 8
            rows.append(
                {
                    "picture": name,
                    "quality": quality,
                    "bpp": mr.bits_per_pixel(data, image.shape),
                    "bytes": len(data),
                    "content_bytes": content,
                    "header_bytes": len(data) - sum(header.lengths),
                    "overhead_bytes": len(data) - content,
                    "overhead_percent": 100 * (len(data) / content - 1),
                }
            )
    return rows


def seams() -> list[dict[str, Any]]:
    """Jumps of the error at the borders of blocks, patches and tiles against all others.

    The tiles of 2.4 megapixels meet inside photographs, not where two lie side by side.
    """
    codec, image = mr.load(), large_picture(2.4)
    height, width = image.shape[:2]
    tiles = list(Tiling(height, width, codec.architecture.unit))
    borders = {
        "blocks of 8": (range(8, height, 8), range(8, width, 8)),
        f"patches of {PATCH}": (range(PATCH, height, PATCH), range(PATCH, width, PATCH)),
        "tiles": (
            sorted({tile.top * PATCH for tile in tiles} - {0}),
            sorted({tile.left * PATCH for tile in tiles} - {0}),
        ),
    }
    rows = []
    for quality in SWEEP:
        data = codec.compress(image, quality)
        _, other = best_within(BASELINES["jpeg"], image, len(data))
        for name, file, decode in (
            ("mrdcae", data, codec.decompress),
            ("jpeg", other, BASELINES["jpeg"].decode),
        ):
            ratios = {
                at: mr.seam_ratio(image, decode(file), *where) for at, where in borders.items()
            }
            rows.append({"codec": name, "bpp": mr.bits_per_pixel(file, image.shape), **ratios})
    return rows


def large_picture(size: float) -> RGB:
    """A picture of `size` megapixels, 4:3, of bundled photographs side by side and mirrored."""
    width = round((size * 4e6 / 3) ** 0.5)
    height = round(size * 1e6 / width)
    photographs = [mr.sample(name) for name in mr.sample_names()]
    side = photographs[0].shape[0]
    picture = np.empty((height, width, 3), np.uint8)
    for row, top in enumerate(range(0, height, side)):
        for column, left in enumerate(range(0, width, side)):
            photograph = photographs[(3 * row + column) % len(photographs)]
            turned = photograph[:: (-1) ** row, :: (-1) ** column]
            part = picture[top : top + side, left : left + side]
            part[:] = turned[: part.shape[0], : part.shape[1]]
    return picture


def peak_mb() -> float:
    """Largest resident memory of this process so far, in megabytes.

    Linux counts what a process had before it became another program into `ru_maxrss`, but not
    into `VmHWM`.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    high = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return (high or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0] / 1024


def one_step(step: str, size: float, path: Path) -> dict[str, float]:
    """Time and memory of encoding a large picture to `path` or of decoding it, in a new process."""
    codec = mr.load()
    codec.decompress(codec.compress(mr.sample("dog")[:64, :64]))
    picture = large_picture(size) if step == "encode" else np.empty(0, np.uint8)
    before = peak_mb()
    started = time.process_time()
    if step == "encode":
        path.write_bytes(codec.compress(picture, QUALITY, threads=1))
    else:
        picture = codec.decompress(path.read_bytes(), threads=1)
    taken = time.process_time() - started
    exact = picture.shape[0] * picture.shape[1] / 1e6
    return {
        "megapixels": exact,
        f"{step}_s": taken,
        f"{step}_peak_mb": peak_mb(),
        f"{step}_added_mb": peak_mb() - before,
    }


def scaling(size: float) -> dict[str, float]:
    """Both steps for one size, each in its own process."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in ("encode", "decode"):
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                task = process.submit(one_step, step, size, Path(folder, "large.mrdc"))
                found |= task.result()
    return found


def cores(size: float) -> list[dict[str, Any]]:
    """Seconds on the clock of both steps for one picture, on one processor, on all, on busy ones.

    Busy means that a process that does nothing but count runs on each processor beside.
    """
    codec, picture, rows = mr.load(), large_picture(size), []
    every = os.cpu_count() or 1
    data = codec.compress(picture, QUALITY, threads=every)
    for busy in (False, True):
        counting = [get_context("spawn").Process(target=_count) for _ in range(every * busy)]
        for process in counting:
            process.daemon = True
            process.start()
        for threads in sorted({1, every}):
            row: dict[str, Any] = {"megapixels": megapixels(picture), "threads": threads}
            row |= {"busy": busy}
            encode = partial(codec.compress, picture, QUALITY, threads=threads)
            decode = partial(codec.decompress, data, threads=threads)
            rows.append(row | {"encode_s": wall_seconds(encode), "decode_s": wall_seconds(decode)})
        for process in counting:
            process.terminate()
            process.join()
    return rows


def _count() -> None:
    number = 0
    while True:
        number += 1


def benchmark() -> dict[str, Any]:
    """All measurements, each said on standard error as it comes."""
    images = {name: mr.sample(name) for name in mr.sample_names()}
    few = list(images.values())[::2]
    speeds = []
    for rate in RATES:
        rows = [_said(speed(name, rate, few)) for name in (*BASELINES, OURS, SLOWEST)]
        speeds += [_against(row, rows) for row in rows]
    return {
        "machine": {
            "processor": processor(),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pillow", "constriction")},
        },
        "model": {"name": "lite", "id": mr.load().id.hex()},
        "speed": speeds,
        "routing": [_said(row) for row in routing_cost(few)],
        "overhead": [_said(row) for row in overhead(images)],
        "seams": [_said(row) for row in seams()],
        "cores": [_said(row) for size in CORES_SIZES for row in cores(size)],
        "scaling": [_said(scaling(size)) for size in SIZES],
    }


def _against(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row of speeds with its ratios to those of `AGAINST`, where that codec is there."""
    anchors = [other for other in rows if other["codec"] == AGAINST]
    ratios = {
        f"{step}_against_{AGAINST}": row[f"{step}_mp_per_s"] / anchor[f"{step}_mp_per_s"]
        for anchor in anchors
        for step in ("encode", "decode")
    }
    return row | ratios


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(row, file=sys.stderr, flush=True)
    return row


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the figures to a file where one is named, else print them."""
    parser = Parser(prog="book.experiments.bench_codecs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_report, options.out))


def _report(out: Path | None) -> None:
    report = json.dumps(benchmark(), indent=1) + "\n"
    if out:
        write_atomically(out, report.encode())
    else:
        print(report, end="")


if __name__ == "__main__":
    sys.exit(main())
