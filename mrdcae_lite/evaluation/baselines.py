"""The codecs everybody has, behind one interface, to compare with at equal bytes."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageFile, features

from mrdcae_lite.core.pixels import RGB, check_rgb


@dataclass(frozen=True)
class Baseline:
    """A codec of Pillow's with fixed settings and one quality parameter.

    `grid` holds the qualities it takes, ascending; `sweep` those of a rate-distortion curve. The
    quality is on the codec's own scale; for JPEG 2000 it is the bits per pixel asked for, which the
    file keeps to unless the picture is so small that the header counts.
    """

    name: str
    title: str
    pillow_format: str
    grid: tuple[float, ...]
    sweep: tuple[float, ...]
    options: Callable[[float], Mapping[str, Any]]

    def encode(self, image: RGB, quality: float) -> bytes:
        """Compress a uint8 (height, width, 3) picture to the bytes of a file."""
        check_rgb(image)
        if not self.grid[0] <= quality <= self.grid[-1]:
            raise ValueError(
                f"quality of {self.name} must be from {self.grid[0]:g} to {self.grid[-1]:g}. "
                f"Received: {quality!r}."
            )
        buffer, usual = BytesIO(), ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK = max(usual, 2 * image.size)  # optimised JPEG of noise takes much room
        try:
            Image.fromarray(image).save(buffer, self.pillow_format, **self.options(quality))
        finally:
            ImageFile.MAXBLOCK = usual
        return buffer.getvalue()

    def decode(self, data: bytes) -> RGB:
        """Restore the picture from bytes that `encode` made."""
        with Image.open(BytesIO(data), formats=[self.pillow_format]) as file:
            return np.array(file.convert("RGB"))


Encoder = tuple[Callable[[float], bytes], Sequence[float]]


def encode_to_size(baseline: Baseline, image: RGB, target_bytes: int) -> bytes:
    """The largest file of a baseline that is not above `target_bytes`.

    The grid of qualities is bisected, as sizes grow with quality. How close the file comes depends
    on the codec's steps (AVIF's are up to 14 % apart at low rates): compare at its real size, not
    at the target. Raises `ValueError` if even the lowest quality takes more.
    """
    return best_within(baseline, image, target_bytes)[1]


def best_within(baseline: Baseline, image: RGB, target_bytes: int) -> tuple[float, bytes]:
    """The quality that `encode_to_size` finds, and its file."""
    encode = cache(partial(baseline.encode, image))
    fitting = bisect_right(baseline.grid, target_bytes, key=lambda q: len(encode(q)))
    if fitting == 0:
        least = len(encode(baseline.grid[0]))
        raise ValueError(
            f"target_bytes must be at least {least}, the smallest file {baseline.name} makes "
            f"of this picture. Received: {target_bytes}."
        )
    quality = baseline.grid[fitting - 1]
    return quality, encode(quality)


def encode_alike(first: Encoder, second: Encoder, target_bytes: int) -> tuple[bytes, bytes]:
    """Two files of the same size, for a comparison at equal bytes.

    Codecs make files in steps, so that two of them rarely meet at a target. Files of both are made
    around it, and the pair whose sizes lie closest together is taken: where both have a dozen
    qualities between four and six fifths of the target, that is within one per cent. Compare
    `len` of the two.

    Args:
        first: a function from quality to file, and its qualities, ascending; files grow with them.
            Such as `(partial(jpeg.encode, image), jpeg.grid)`.
        second: the same for the other codec.
        target_bytes: about how large the files should be.

    Raises `ValueError` if one of the codecs makes no file of about that size.
    """
    pairs = product(_around(*first, target_bytes), _around(*second, target_bytes))
    return min(pairs, key=lambda pair: abs(np.log(len(pair[0]) / len(pair[1]))))


def _around(
    encode: Callable[[float], bytes], qualities: Sequence[float], target: int
) -> list[bytes]:
    """Up to sixteen files from four to six fifths of the target."""
    encode = cache(encode)
    start = bisect_left(qualities, 0.8 * target, key=lambda q: len(encode(q)))
    stop = bisect_right(qualities, 1.2 * target, key=lambda q: len(encode(q)))
    if start == stop:
        ends = [len(encode(qualities[end])) for end in (0, -1)]
        raise ValueError(
            f"target_bytes must be near the size of a file; they go from {ends[0]} to {ends[1]}. "
            f"Received: {target}."
        )
    chosen = np.unique(np.linspace(start, stop - 1, 16).astype(int))
    return [encode(qualities[place]) for place in chosen]


def _jpeg(quality: float, subsampling: str) -> Mapping[str, Any]:
    return {"quality": round(quality), "subsampling": subsampling, "optimize": True}


def _jpeg2000(bpp: float) -> Mapping[str, Any]:
    # Without mct=1 Pillow codes red, green and blue separately, which costs about 3 dB.
    return {"quality_mode": "rates", "quality_layers": [24 / bpp], "irreversible": True, "mct": 1}


def _webp(quality: float) -> Mapping[str, Any]:
    return {"quality": quality, "method": 6}


def _avif(quality: float, speed: int, subsampling: str) -> Mapping[str, Any]:
    # With two threads or more libaom writes other bytes: the file would depend on the machine.
    how = {"speed": speed, "subsampling": subsampling, "max_threads": 1}
    return {"quality": round(quality), **how}


_WHOLE = tuple(range(101))
_TENTHS = tuple(step / 10 for step in range(1001))
_BITS = tuple(np.geomspace(0.01, 24, 8192).tolist())
_JPEG = "JPEG", _WHOLE[1:], (5, 10, 15, 20, 30, 40, 55, 70, 80, 90)
_JPEG2000 = "JPEG2000", _BITS, (0.1, 0.2, 0.3, 0.4, 0.5714, 0.8, 1.2, 2.0), _jpeg2000
_WEBP = "WEBP", _TENTHS, (1, 10, 25, 45, 65, 80, 90, 95), _webp
_AVIF = "AVIF", _WHOLE, (10, 20, 30, 40, 50, 60, 70, 82)
_ALL = [
    Baseline("jpeg", "JPEG 4:2:0, optimised", *_JPEG, partial(_jpeg, subsampling="4:2:0")),
    Baseline("jpeg444", "JPEG 4:4:4, optimised", *_JPEG, partial(_jpeg, subsampling="4:4:4")),
    Baseline("jpeg2000", "JPEG 2000, 9/7 wavelet", *_JPEG2000),
    Baseline("webp", "WebP, method 6", *_WEBP),
    Baseline("avif", "AVIF 4:2:0, speed 6", *_AVIF, partial(_avif, speed=6, subsampling="4:2:0")),
    Baseline(
        "avif444", "AVIF 4:4:4, speed 3", *_AVIF, partial(_avif, speed=3, subsampling="4:4:4")
    ),
]

_FEATURES = {"JPEG": "jpg", "JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}
BASELINES = {b.name: b for b in _ALL if features.check(_FEATURES[b.pillow_format])}
"""Those that the installed Pillow can write, by name."""
