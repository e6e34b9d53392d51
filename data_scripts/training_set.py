"""Gather the photographs that the shipped models were trained on into two folders.

    python -m data_scripts.training_set --photos DIR --flowers DIR --to DIR

`DIR/train` and `DIR/validation` are then what `mrdcae train` takes. Every twelfth photograph, by
the hash of its name, validates. Of the flowers only the training split is used, at half size,
which takes the traces of their JPEG past away.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.flowers17 import splits

VALIDATE_ONE_IN = 12


def validates(name: str) -> bool:
    """Whether the photograph of this file name is held out to choose the best weights."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % VALIDATE_ONE_IN == 0


def gather(photos: Path, flowers: Path | None, to: Path) -> dict[str, int]:
    """Write the two folders as PNG files; returns the number of pictures in each."""
    jobs = [
        (path, to / ("validation" if validates(path.name) else "train") / f"{path.stem}.png", 1)
        for path in sorted(photos.iterdir())
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    if not jobs:
        raise DataError(f"no .jpg or .png file in {photos}: run `python -m data_scripts.photos`")
    if flowers is not None:
        train = splits(flowers).train
        jobs += [(path, to / "train" / f"flower_{path.stem}.png", 2) for path in train]
    for source, target, divisor in tqdm(jobs, desc="gathering", unit="picture"):
        _convert(source, target, divisor)
    return {part: len(list((to / part).glob("*.png"))) for part in ("train", "validation")}


def _convert(source: Path, target: Path, divisor: int) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Image.open(source) as opened:
            picture = opened.convert("RGB")
    except UnidentifiedImageError as error:
        raise DataError(f"{source} is not a picture: fetch it again") from error
    if divisor > 1:
        size = picture.width // divisor, picture.height // divisor
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    partial = target.with_suffix(".partial")
    picture.save(partial, "PNG", compress_level=1)
    partial.replace(target)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.training_set")
    parser.add_argument("--photos", type=Path, required=True, help="folder of data_scripts.photos")
    parser.add_argument("--flowers", type=Path, help="folder of data_scripts.flowers17")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(argv)
    try:
        counts = gather(options.photos, options.flowers, options.to)
    except (DataError, OSError) as error:
        print(f"training_set: {error}", file=sys.stderr)
        return 2
    print(f"{counts['train']} pictures to train on, {counts['validation']} to validate with")
    return 0


if __name__ == "__main__":
    sys.exit(main())
