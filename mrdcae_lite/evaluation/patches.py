"""Cutting a picture into fixed-size, non-overlapping patches, and putting it together again.

The codec itself moves pixels with `core.patches`; this is for those who want to look at patches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core.patches import pad_to_multiple


def to_patches(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Cut a picture (height, width, channels) into patches of size x size pixels.

    Returns an array (rows, cols, size, size, channels) of the picture's type; any picture from
    1 x 1 up is padded with `pad_to_multiple` first. `from_patches` is the exact inverse.
    """
    padded = pad_to_multiple(image, size)
    height, width, channels = padded.shape
    grid = padded.reshape(height // size, size, width // size, size, channels)
    return np.ascontiguousarray(grid.swapaxes(1, 2))  # (rows, cols, size, size, channels)


def from_patches(patches: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Put patches together and cut the padding off, to a picture of `shape`.

    `shape` is that of the original, (height, width) or (height, width, channels).
    """
    if patches.ndim != 5 or patches.shape[2] != patches.shape[3] or 0 in patches.shape:
        raise ValueError(
            "patches must have the shape (rows, cols, size, size, channels), all above 0. "
            f"Received: {patches.shape}."
        )
    rows, cols, size, _, channels = patches.shape
    covering = (*(-(-side // size) for side in shape[:2]), *shape[2:])
    if len(shape) not in (2, 3) or covering != (rows, cols, channels)[: len(shape)]:
        raise ValueError(
            f"{rows} x {cols} patches of {size} x {size} pixels and {channels} channels must be "
            f"what a picture of `shape` is cut into. Received: shape={tuple(shape)}. "
            "Pass the shape of the original picture."
        )
    picture = patches.swapaxes(1, 2).reshape(rows * size, cols * size, channels)
    return picture[: shape[0], : shape[1]].copy()
