"""Find photographs that are in two sets: no test picture may be learned from.

``python -m data_scripts.leaks FOLDER_A FOLDER_B ...`` compares every picture of every folder with
those of all other folders, prints the pairs, and exits with 1 if there are any. Three comparisons:
bytes, decoded pixels, and a perceptual hash that survives re-encoding, resizing, brightness and
mirroring. A deep crop, a rotation or a collage is not found.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.command import Parser, guarded
from mrdcae_lite.io.images import PICTURES

THRESHOLD = 12  # of 64 bits; a false alarm costs a training picture, a leak costs the result
FINGERPRINTS = Path(__file__).parent / "checksums" / "perceptual.txt"
# Bits of odd horizontal frequency: mirroring a picture changes exactly their signs.
_MIRROR = np.uint64(0xAAAAAAAAAAAAAAAA)


@dataclass(frozen=True)
class Picture:
    """What is compared: SHA-256 of the bytes, of the decoded pixels, and the perceptual hash."""

    name: str
    file: str
    pixels: str
    perceptual: int


@dataclass(frozen=True)
class Pair:
    """Two pictures that are one: `kind` says in what, `distance` in how many of 64 bits not."""

    first: str
    second: str
    kind: str
    distance: int


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits: the signs of the 8x8 lowest non-constant frequencies of the brightness.

    The picture is shrunk to 32x32 grey and cosine-transformed; horizontal and vertical
    frequencies 1 to 8 are kept, row by row, highest bit first.

    References
    ----------
    .. [1] C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010
       (which compares with the median instead of zero; with signs, mirroring flips known bits).
    """
    small = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    block = dctn(np.asarray(small, dtype=np.float64))[1:9, 1:9]
    return int.from_bytes(np.packbits(block > 0).tobytes(), "big")


def picture(path: Path, name: str | None = None) -> Picture:
    """Decode one file, upright and as RGB, and take its three hashes."""
    try:
        content = path.read_bytes()
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is not a readable picture ({error}); remove it") from error
    shape = f"{image.width}x{image.height}:".encode()
    return Picture(
        name=name or str(path),
        file=hashlib.sha256(content).hexdigest(),
        pixels=hashlib.sha256(shape + image.tobytes()).hexdigest(),
        perceptual=perceptual_hash(image),
    )


def pictures(folder: Path) -> list[Picture]:
    """Read every picture of a folder and of its subfolders."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not paths:
        raise DataError(f"expected pictures in {folder}, found none; prepare it first")
    return [picture(p) for p in tqdm(paths, desc=folder.name, leave=False, disable=None)]


def find(sets: Sequence[Sequence[Picture]]) -> list[Pair]:
    """Return the pairs found between the sets."""
    return [pair for a, b in combinations(sets, 2) for pair in _between(a, b)]


def _between(left: Sequence[Picture], right: Sequence[Picture]) -> Iterable[Pair]:
    a, b = (np.array([p.perceptual for p in side], dtype=np.uint64) for side in (left, right))
    straight, mirrored = distances(a, b), distances(a, b ^ _MIRROR)
    closest = np.minimum(straight, mirrored)
    for (i, one), (j, other) in product(enumerate(left), enumerate(right)):
        if one.file == other.file:
            yield Pair(one.name, other.name, "same file", 0)
        elif one.pixels == other.pixels:
            yield Pair(one.name, other.name, "same pixels", 0)
        elif closest[i, j] <= THRESHOLD:
            kind = "mirrored copy" if mirrored[i, j] < straight[i, j] else "copy"
            yield Pair(one.name, other.name, kind, int(closest[i, j]))


def distances(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of differing bits of every hash of `a` against every one of `b`."""
    return np.bitwise_count(a[:, None] ^ b[None, :])


def nearest(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the same for the better of two ways to hold `b`: as it is, and mirrored."""
    return np.minimum(distances(a, b), distances(a, b ^ _MIRROR))


def fingerprints(name: str) -> dict[str, int]:
    """Return the committed perceptual hashes of one data set: file name to hash."""
    lines = (line.split(maxsplit=1) for line in FINGERPRINTS.read_text("utf-8").splitlines())
    found = {path: int(digits, 16) for digits, path in lines if path.startswith(f"{name}/")}
    return {path.removeprefix(f"{name}/"): value for path, value in found.items()}


def copies(name: str) -> dict[str, set[str]]:
    """Return the copies inside one data set, from its committed hashes: file to its copies."""
    known = fingerprints(name)
    names, hashes = list(known), np.array(list(known.values()), dtype=np.uint64)
    found: dict[str, set[str]] = {}
    for i, j in np.argwhere(np.triu(nearest(hashes, hashes) <= THRESHOLD, 1)):
        found.setdefault(names[i], set()).add(names[j])
        found.setdefault(names[j], set()).add(names[i])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Compare folders and print the pairs."""
    parser = Parser(prog="data_scripts.leaks")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--print", action="store_true", help="print the perceptual hashes only")
    arguments = parser.parse_args(argv)

    def work() -> int:
        sets = [pictures(folder) for folder in arguments.folders]
        if arguments.print:
            for one in (one for found in sets for one in found):
                print(f"{one.perceptual:016x}  {'/'.join(Path(one.name).parts[-2:])}")
            return 0
        pairs = find(sets)
        for pair in pairs:
            print(f"{pair.kind} ({pair.distance} of 64 bits): {pair.first}  {pair.second}")
        print(f"{len(pairs)} pairs among {sum(map(len, sets)):,} pictures")
        return int(bool(pairs))

    return guarded(parser.prog, work)


if __name__ == "__main__":
    raise SystemExit(main())
