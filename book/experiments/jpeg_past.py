"""Measure what the flower set's JPEG past does to compression ratios, for the data chapter.

    python -m book.experiments.jpeg_past --flowers DIR --kodak DIR --out book/results/data.json

Two questions: what the files are (size, quality, chroma resolution), and what plain JPEG reaches
at 42:1 on them, at their own size and resized, beside Kodak. Takes three to six minutes.
"""

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, JpegImagePlugin, features
from tqdm import tqdm

from data_scripts import DataError
from data_scripts.command import Parser, guarded
from data_scripts.flowers17 import IMAGES, splits
from data_scripts.leaks import copies
from data_scripts.manifest import load, verify
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.evaluation.baselines import BASELINES, encode_to_size
from mrdcae_lite.evaluation.curves import at_rate
from mrdcae_lite.evaluation.report import rounded
from mrdcae_lite.io.images import read_image, standardise

RATIO = 42  # the largest compression ratio that the report states
RAW_BITS = 24
SIDE = 256
LEAST_SPREAD = range(22, IMAGES, 45)  # 30 pictures
SPREAD = range(0, IMAGES, 8)  # 170 pictures

Facts = dict[str, Any]


def stored(paths: Sequence[Path]) -> Facts:
    """What the files say of themselves: bits per pixel, JPEG quality, chroma resolution."""
    tables = _tables_of_quality(75)
    rows = [
        _header(path, tables) for path in tqdm(paths, desc="headers", leave=False, disable=None)
    ]
    size, pixels, of_75, halved = (np.array(column) for column in zip(*rows, strict=True))
    bpp = 8 * size / pixels
    return {
        "files": len(paths),
        "bytes": int(size.sum()),
        "mean_bytes": float(size.mean()),
        "bpp": float(8 * size.sum() / pixels.sum()),
        "ratio": float(RAW_BITS * pixels.sum() / (8 * size.sum())),
        "mean_bpp": float(bpp.mean()),
        "least_bpp": float(bpp.min()),
        "most_bpp": float(bpp.max()),
        "quality_75": int(of_75.sum()),
        "chroma_halved": int(halved.sum()),
        "beyond_42": int((RAW_BITS / bpp > RATIO).sum()),
    }


def _tables_of_quality(quality: int) -> dict[int, list[int]]:
    file = BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return dict(opened.quantization)  # type: ignore[attr-defined]


def _header(path: Path, tables: dict[int, list[int]]) -> tuple[int, int, bool, bool]:
    """Bytes, pixels, whether quantised by `tables`, whether 4:2:0."""
    with Image.open(path) as opened:
        if not isinstance(opened, JpegImagePlugin.JpegImageFile):
            raise DataError(f"expected a JPEG file, {path} is {opened.format}; fetch it again")
        halved = JpegImagePlugin.get_sampling(opened) == 2
        of_75 = dict(opened.quantization) == tables
        return path.stat().st_size, opened.width * opened.height, of_75, halved


def encoded_again(paths: Iterable[Path]) -> Facts:
    """What it costs to store a file as JPEG of quality 75 once more, and what it saves."""
    scores, shares = [], []
    for path in paths:
        picture, again = read_image(path), BytesIO()
        Image.fromarray(picture).save(again, "JPEG", quality=75, subsampling="4:2:0")
        scores.append(psnr(picture, BASELINES["jpeg"].decode(again.getvalue()), data_range=255))
        shares.append(again.tell() / path.stat().st_size)
    finite = np.array([score for score in scores if np.isfinite(score)])
    return {
        "files": len(scores),
        "unchanged": len(scores) - len(finite),
        "least_psnr": float(finite.min()),
        "median_psnr": float(np.median(scores)),
        "mean_psnr_of_changed": float(finite.mean()),
        "mean_size_share": float(np.mean(shares)),
    }


def at_42(paths: Sequence[Path], prepare: Callable[[RGB], RGB], label: str) -> Facts:
    """PSNR of plain JPEG (4:2:0, optimised tables) at 24/42 bits per pixel, in three ways.

    `each`: every picture's curve read at that rate, then the mean; `averaged_curve`: the mean
    curve read there; `real_files`: the largest file of every picture not above that rate.
    """
    jpeg, curves, real, against_source = BASELINES["jpeg"], [], [], []
    for path in tqdm(paths, desc=label, leave=False, disable=None):
        picture = prepare(read_image(path))
        raw = picture.nbytes
        files = [jpeg.encode(picture, quality) for quality in jpeg.sweep]
        files.append(encode_to_size(jpeg, picture, raw // RATIO))
        scores = [psnr(picture, jpeg.decode(file), data_range=255) for file in files]
        rates = [RAW_BITS * len(file) / raw for file in files[:-1]]
        curves.append(np.array([rates, scores[:-1]]))
        real.append(scores[-1])
        against_source.append(path.stat().st_size / len(files[-1]))
    bpp, scores = np.mean(curves, axis=0)
    rate = RAW_BITS / RATIO
    each = [score for r, s in curves if np.isfinite(score := at_rate(r, s, rate))]
    return {
        "pictures": len(paths),
        "each": _summary(each),
        "averaged_curve": at_rate(bpp, scores, rate),
        "curve": {"quality": list(jpeg.sweep), "bpp": bpp.tolist(), "psnr": scores.tolist()},
        "real_files": _summary(real),
        "mean_ratio_to_source_file": float(np.mean(against_source)),
    }


def _summary(scores: Sequence[float]) -> Facts:
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    return {"n": len(scores), "mean": float(np.mean(scores)), "standard_error": float(error)}


def split_sizes(folder: Path) -> Facts:
    """How many pictures train, validate and test, by whose split, and how many copies there are."""
    found = splits(folder)
    return {
        "source": found.source,
        "train": len(found.train),
        "validation": len(found.validation),
        "test": len(found.test),
        "dropped": len(found.dropped),
        "pairs_of_copies": sum(map(len, copies("flowers17").values())) // 2,
    }


def measure(flowers: Path, kodak: Path) -> Facts:
    """All of the chapter's figures."""
    paths, lossless = (
        verify(name, [folder / file for file in sorted(load(name).files)])
        for name, folder in (("flowers17", flowers), ("kodak", kodak))
    )
    spread, least = [paths[i] for i in SPREAD], [paths[i] for i in LEAST_SPREAD]
    same: Callable[[RGB], RGB] = np.asarray
    small: Callable[[RGB], RGB] = partial(standardise, size=SIDE)
    groups = {
        "flowers_170_own_size": (spread, same),
        "flowers_170_at_256": (spread, small),
        "flowers_30_own_size": (least, same),
        "flowers_30_at_256": (least, small),
        "kodak_24_own_size": (lossless, same),
    }
    return {
        "flowers17": stored(paths),
        "encoded_again": encoded_again(tqdm(spread, desc="quality 75", leave=False, disable=None)),
        "splits": split_sizes(flowers),
        "jpeg_at_42": {k: at_42(p, prepare, k) for k, (p, prepare) in groups.items()},
    }


def provenance(*names: str) -> Facts:
    """What the figures depend on: versions, and the hash of every data set's list of checksums."""
    lists = {name: json.dumps(sorted(load(name).files.items())) for name in names}
    return {
        "python": platform.python_version(),
        "pillow": PIL.__version__,
        "libjpeg_turbo": features.version_feature("libjpeg_turbo"),
        "numpy": np.__version__,
        "data": {n: hashlib.sha256(text.encode()).hexdigest() for n, text in lists.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the figures to a file."""
    parser: argparse.ArgumentParser = Parser(prog="book.experiments.jpeg_past")
    parser.add_argument("--flowers", type=Path, required=True, help="folder of flowers17")
    parser.add_argument("--kodak", type=Path, required=True, help="folder of kodak")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_write, options.flowers, options.kodak, options.out))


def _write(flowers: Path, kodak: Path, out: Path) -> None:
    found = {"command": "python -m book.experiments.jpeg_past"} | provenance("flowers17", "kodak")
    text = json.dumps(rounded(found | measure(flowers, kodak)), indent=1)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
