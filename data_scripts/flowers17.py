"""Oxford 17 Category Flowers: download, verify, and split into train, validation and test.

``python -m data_scripts.flowers17 --to DIR`` fills DIR with image_0001.jpg to image_1360.jpg and,
where it can be had, datasplits.mat. 80 pictures a class, classes in order.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from data_scripts import DataError
from data_scripts.fetch import bring, command_line, store
from data_scripts.leaks import copies
from data_scripts.manifest import entry

IMAGES, A_CLASS = 1360, 80
SPLITS_FILE = "datasplits.mat"


@dataclass(frozen=True)
class Splits:
    """Three lists of pictures; `source` says whose they are.

    The set holds many photographs twice. `dropped` are the training and validation pictures that
    were left out because the same photograph is in a list that must not know it.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    test: tuple[Path, ...]
    dropped: tuple[Path, ...]
    source: str


def splits(folder: Path) -> Splits:
    """Return the first of the official splits, or the fallback where their file is missing.

    The fallback takes of each class, in the order of the SHA-256 of the file name, 40 pictures to
    train, 20 to validate and 20 to test: the proportions of the official splits.
    """
    missing = sum(not (folder / _name(i)).is_file() for i in range(1, IMAGES + 1))
    if missing:
        raise DataError(
            f"{folder} lacks {missing:,} of {IMAGES:,} pictures; "
            f"run python -m data_scripts.flowers17 --to {folder}"
        )
    if (folder / SPLITS_FILE).is_file():
        train, validation, test = _official(folder / SPLITS_FILE)
        source = f"official split 1 ({SPLITS_FILE})"
    else:
        train, validation, test = _fallback()
        source = f"fallback: 40/20/20 of each class by hash order ({SPLITS_FILE} is not there)"
    twins = copies("flowers17")
    kept_validation = [i for i in validation if not twins.get(_name(i), set()) & _names(test)]
    held_out = _names([*kept_validation, *test])
    kept_train = [i for i in train if not twins.get(_name(i), set()) & held_out]
    dropped = sorted({*train, *validation} - {*kept_train, *kept_validation})
    paths = [
        tuple(folder / _name(i) for i in part)
        for part in (kept_train, kept_validation, test, dropped)
    ]
    return Splits(paths[0], paths[1], paths[2], paths[3], source)


def _name(number: int) -> str:
    return f"image_{number:04d}.jpg"


def _names(numbers: Iterable[int]) -> set[str]:
    return {_name(number) for number in numbers}


def _official(path: Path) -> list[list[int]]:
    try:
        content = loadmat(path)
        parts = [sorted(map(int, np.ravel(content[key]))) for key in ("trn1", "val1", "tst1")]
    except (KeyError, ValueError, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is not the splits file ({error!r}); delete it") from error
    if sorted(i for part in parts for i in part) != list(range(1, IMAGES + 1)):
        raise DataError(f"{path}: split 1 is no partition of 1..{IMAGES}; delete the file")
    return parts


def _fallback() -> list[list[int]]:
    parts: list[list[int]] = [[], [], []]
    for first in range(1, IMAGES + 1, A_CLASS):
        order = sorted(
            range(first, first + A_CLASS), key=lambda i: hashlib.sha256(_name(i).encode()).digest()
        )
        for part, chosen in zip(parts, (order[:40], order[40:60], order[60:]), strict=True):
            part.extend(sorted(chosen))
    return parts


def _finish(folder: Path, mirror: str | None) -> None:
    official = entry("flowers17")["splits"]
    hashes, urls = ({SPLITS_FILE: official[key]} for key in ("hash", "url"))
    try:
        bring(store(folder, hashes, urls, mirror), SPLITS_FILE)
    except DataError as error:
        print(f"no official splits: {error}")
    found = splits(folder)
    print(
        f"{found.source}: {len(found.train)} train, {len(found.validation)} validation, "
        f"{len(found.test)} test; {len(found.dropped)} dropped as copies"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the set in a folder."""
    return command_line("flowers17", argv, finish=_finish)


if __name__ == "__main__":
    raise SystemExit(main())
