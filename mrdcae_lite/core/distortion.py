"""Size and squared error: the measures that the codec itself works with.

Every picture is an array (height, width) or (height, width, channels) of any real type. The range
of its values is always passed as `data_range` (255 for uint8, 1 for floats in [0, 1]): guessing it
from the type gives confidently wrong values.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def mse(image: ArrayLike, restored: ArrayLike) -> float:
    """Mean squared error, in squared units of the pictures; 0 for identical pictures.

    Raises `ValueError` where the shapes differ or the pictures are empty.
    """
    first, second = check_pair(image, restored)
    return float(np.mean((first - second) ** 2))


def psnr(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE); infinite if identical.

    The error is averaged over all pixels and channels before the logarithm is taken.
    """
    check_data_range(data_range)
    error = mse(image, restored)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def bits_per_pixel(data: bytes, shape: Sequence[int]) -> float:
    """Size of a compressed picture: 8 x bytes / (height x width), over the whole file.

    `shape` is the picture's shape; channels, if given, do not count as pixels.
    """
    return 8 * len(data) / _pixels(shape)


def compression_ratio(
    data: bytes, shape: Sequence[int], *, source_bytes: int | None = None
) -> float:
    """How many times smaller the file is than what it stands for; 1 means nothing was gained.

    The denominator is always `len(data)`. The numerator is the raw picture at 24 bits (3 bytes) a
    pixel or, where `source_bytes` is given, the size of the file the picture came from. The two
    differ widely for a photograph that was a JPEG already, so say which one is meant.
    """
    raw = 3 * _pixels(shape)
    if not data:
        raise ValueError("data must be a compressed picture. Received: no bytes.")
    if source_bytes is not None and source_bytes < 1:
        raise ValueError(f"source_bytes must be a file size above 0. Received: {source_bytes}.")
    return (raw if source_bytes is None else source_bytes) / len(data)


def check_pair(image: ArrayLike, restored: ArrayLike) -> tuple[Floats, Floats]:
    """Two pictures as float64; raises `ValueError` unless they have one shape and are not empty."""
    first, second = np.asarray(image, np.float64), np.asarray(restored, np.float64)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(
            "image and restored must be two pictures of one shape. "
            f"Received: {first.shape} and {second.shape}."
        )
    return first, second


def check_data_range(data_range: float) -> None:
    """Raise `ValueError` unless the span of possible values is positive and finite."""
    if not 0 < data_range < math.inf:
        raise ValueError(
            "data_range must be the span of possible values, above 0 (255 for uint8). "
            f"Received: {data_range!r}."
        )


def _pixels(shape: Sequence[int]) -> int:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            "shape must be (height, width) or (height, width, channels), all above 0. "
            f"Received: {tuple(shape)}. Pass image.shape."
        )
    return int(shape[0]) * int(shape[1])
