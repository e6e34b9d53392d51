"""Time the input pipeline alone and the training step that waits for it.

    python -m book.experiments.bench_input [--photographs DIR] [--out FILE.json]

Without a folder the bundled photographs are used. All times are processor time of this program,
in milliseconds a crop, so that other programs on the machine do not count. Building the training
step takes about a minute of its own and is not counted.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from book.experiments.bench_codecs import processor
from data_scripts import DataError
from data_scripts.command import Parser, guarded
from mrdcae_lite.core.pixels import RGB, normalise
from mrdcae_lite.io.images import ImageError, pictures_in, read_image, sample, sample_names
from mrdcae_lite.training.augmentation import crop, flip, illuminate, rotate
from mrdcae_lite.training.data import Photographs
from mrdcae_lite.training.model import MRDCAE
from mrdcae_lite.training.run import make_optimizer

SIZE, BATCH = 128, 8
CROPS = 1000
WARM_STEPS, STEPS = 2, 8


def photographs(folder: Path | None) -> list[RGB]:
    """Read all pictures of a folder, or the bundled ones."""
    if folder is None:
        return [sample(name) for name in sample_names()]
    paths, _ = pictures_in(folder)
    if not paths:
        raise DataError(f"expected pictures in {folder}, found none; name another folder")
    try:
        return [read_image(path) for path in paths]
    except ImageError as error:
        raise DataError(str(error)) from error


def stages(images: Sequence[RGB], crops: int = CROPS) -> dict[str, float]:
    """Milliseconds a crop that each stage takes when all crops pass through all of them.

    One crop after the other, as in training: a thousand kept in memory cost several times as much.
    """
    rng = np.random.default_rng(0)
    work: dict[str, Callable[[Any], Any]] = {
        "crop": lambda image: crop(image, SIZE, rng),
        "normalise": normalise,
        "rotate and flip": lambda piece: flip(rotate(piece, rng), rng),
        "illuminate": lambda piece: illuminate(piece, rng),
    }
    spent = dict.fromkeys(work, 0.0)
    for _ in range(crops):
        value: Any = images[int(rng.integers(len(images)))]
        for name, stage in work.items():
            start = time.process_time()
            value = stage(value)
            spent[name] += 1000 * (time.process_time() - start) / crops
    return spent


def pipeline(images: Sequence[RGB], crops: int = CROPS) -> float:
    """Milliseconds a crop of `Photographs`, as training receives it in batches."""
    batches = Photographs(images, size=SIZE, batch=BATCH, steps=crops // BATCH)
    start = time.process_time()
    for index in range(len(batches)):
        batches[index]
    return 1000 * (time.process_time() - start) / (len(batches) * BATCH)


class _Clock(keras.callbacks.Callback):
    """Processor time at the end of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.readings.append(time.process_time())


def step(images: Sequence[RGB], model: keras.Model, steps: int = STEPS) -> float:
    """Milliseconds a crop of `fit`, on crops prepared before, without the first steps."""
    total = WARM_STEPS + steps
    batches = Photographs(images, size=SIZE, batch=BATCH, steps=total)
    prepared = np.concatenate([batches[index] for index in range(total)])
    model.compile(optimizer=make_optimizer(1000, 3e-3), jit_compile=False)
    clock = _Clock()
    model.fit(prepared, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[clock])
    first, last = clock.readings[WARM_STEPS - 1], clock.readings[-1]
    return 1000 * (last - first) / (steps * BATCH)


def measure(images: Sequence[RGB], model: keras.Model) -> dict[str, Any]:
    """Everything that is compared, with the machine it was measured on."""
    supply, need = pipeline(images), step(images, model)
    return {
        "command": "python -m book.experiments.bench_input",
        "unit": "milliseconds of processor time a crop",
        "crop": [SIZE, SIZE, 3],
        "batch": BATCH,
        "photographs": len(images),
        "stages": {name: round(spent, 4) for name, spent in stages(images).items()},
        "pipeline": round(supply, 4),
        "training_step": round(need, 4),
        "crops_per_second_supplied": round(1000 / supply, 1),
        "crops_per_second_needed": round(1000 / need, 2),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "numpy": np.__version__,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures to a file where one is named."""
    parser: argparse.ArgumentParser = Parser(prog="book.experiments.bench_input")
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="pictures to cut crops of")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_report, options.photographs, options.out))


def _report(folder: Path | None, out: Path | None) -> None:
    found = measure(photographs(folder), MRDCAE())
    text = json.dumps(found, indent=1)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)
    share = found["pipeline"] / found["training_step"]
    print(f"a crop takes {share:.1%} of the time that training on it takes")


if __name__ == "__main__":
    sys.exit(main())
