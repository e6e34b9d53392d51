"""Gather the photographs that the shipped models were trained on into two folders.

    python -m data_scripts.training_set --photos DIR --flowers DIR --to DIR

`DIR/train` and `DIR/validation` are then what `mrdcae train` takes. Every twelfth photograph, by
the hash of its name, validates. Of the flowers only the training split is used, at half size,
which takes the traces of their JPEG past away. Whatever looks like a picture of a test set, of
the bundled samples or of the flowers held out is left out and named.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.command import Parser, guarded
from data_scripts.flowers17 import splits
from data_scripts.leaks import THRESHOLD, fingerprints, nearest, perceptual_hash
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.io.images import ImageError, pictures_in, read_image

VALIDATE_ONE_IN = 12


class Job(NamedTuple):
    """One picture to gather: where from, where to, and by how much its sides are divided."""

    source: Path
    target: Path
    divisor: int = 1


class Gathered(NamedTuple):
    """Numbers of pictures, and what was left out: file to the held-out picture it looks like."""

    train: int
    validation: int
    left_out: dict[Path, str]


def validates(name: str) -> bool:
    """Whether the photograph of this file name is held out to choose the best weights."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % VALIDATE_ONE_IN == 0


def gather(photos: Path, flowers: Path | None, to: Path) -> Gathered:
    """Write the two folders as PNG files; what is there already is not written again."""
    found, _ = pictures_in(photos)
    if not found:
        raise DataError(f"no picture in {photos}: run `python -m data_scripts.photos`")
    learned = splits(flowers).train if flowers is not None else ()
    jobs = [
        Job(path, to / ("validation" if validates(path.name) else "train") / f"{path.stem}.png")
        for path in found
    ]
    jobs += [Job(path, to / "train" / f"flower_{path.stem}.png", 2) for path in learned]
    _refuse_strangers(to, {job.target for job in jobs})
    like = _finder({path.name for path in learned})
    left_out = {
        job.source: other
        for job in tqdm(jobs, desc="gathering", unit="picture", disable=None)
        if (other := _convert(job, like))
    }
    kept = [job.target for job in jobs if job.source not in left_out]
    train = sum(target.parent.name == "train" for target in kept)
    return Gathered(train, len(kept) - train, left_out)


def _refuse_strangers(to: Path, targets: set[Path]) -> None:
    """A picture of an earlier run may be a test picture by the splits of this one."""
    strangers = sorted({p for p in to.glob("*/*.png") if p not in targets})
    if strangers:
        raise DataError(
            f"{strangers[0]} and {len(strangers) - 1} more pictures come from another run; "
            "remove them or gather into an empty folder"
        )


def _finder(learned: set[str]) -> Callable[[Image.Image], str | None]:
    """A function that names the held-out picture which a picture is a copy of."""
    held_out = {
        f"{name}/{file}": value
        for name in ("kodak", "photos_demo", "flowers17")
        for file, value in fingerprints(name).items()
        if not (name == "flowers17" and file in learned)
    }
    names, hashes = list(held_out), np.array(list(held_out.values()), dtype=np.uint64)

    def like(picture: Image.Image) -> str | None:
        bits = nearest(np.array([perceptual_hash(picture)], dtype=np.uint64), hashes)[0]
        closest = int(bits.argmin())
        return names[closest] if bits[closest] <= THRESHOLD else None

    return like


def _convert(job: Job, like: Callable[[Image.Image], str | None]) -> str | None:
    """Write one picture; instead return the name of the held-out picture that it looks like."""
    try:
        picture = Image.fromarray(read_image(job.source))
    except ImageError as error:
        raise DataError(str(error)) from error
    if other := like(picture):
        job.target.unlink(missing_ok=True)
        return other
    if not job.target.exists():
        job.target.parent.mkdir(parents=True, exist_ok=True)
        size = picture.width // job.divisor, picture.height // job.divisor
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        written = BytesIO()
        picture.save(written, "PNG", compress_level=1)
        write_atomically(job.target, written.getvalue())
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = Parser(prog="data_scripts.training_set")
    parser.add_argument("--photos", type=Path, required=True, help="folder of data_scripts.photos")
    parser.add_argument("--flowers", type=Path, help="folder of data_scripts.flowers17")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_report, options.photos, options.flowers, options.to))


def _report(photos: Path, flowers: Path | None, to: Path) -> None:
    found = gather(photos, flowers, to)
    for path, other in found.left_out.items():
        print(f"left out: {path} looks like {other}")
    print(f"{found.train} pictures to train on, {found.validation} to validate with")


if __name__ == "__main__":
    sys.exit(main())
