"""Squared error: the distortion that the codec itself works with.

Every picture is an array (height, width) or (height, width, channels) of any real type. The range
of its values is always passed as `data_range` (255 for uint8, 1 for floats in [0, 1]): guessing it
from the type gives confidently wrong values.
"""

import math

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
