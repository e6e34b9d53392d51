"""Padding to whole patches, and moving pixels between space and depth."""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_to_multiple(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Repeat the last row and column until both sides are multiples of `multiple`.

    Pixels are added at the bottom and at the right, never at the top or left; a picture that fits
    already comes back as a copy.
    """
    if multiple < 1:
        raise ValueError(f"multiple must be a number of pixels above 0. Received: {multiple}.")
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(
            "image must have the shape (height, width, channels), all above 0. "
            f"Received: {image.shape}. Add an axis to a grey picture: image[..., None]."
        )
    missing = [(0, -side % multiple) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="edge")


def space_to_depth(grid: Any, factor: int, xp: ModuleType = np) -> Any:
    """(..., h, w, c) to (..., h/factor, w/factor, factor*factor*c), in raster order.

    `xp` is the library that the array belongs to, `numpy` or `keras.ops`; one batch axis at most.
    """
    height, width, channels = xp.shape(grid)[-3:]
    rows, columns, batch = height // factor, width // factor, (-1,) * (len(grid.shape) - 3)
    cut = xp.reshape(grid, (*batch, rows, factor, columns, factor, channels))
    return xp.reshape(xp.swapaxes(cut, -4, -3), (*batch, rows, columns, factor**2 * channels))


def depth_to_space(grid: Any, factor: int, xp: ModuleType = np) -> Any:
    """Inverse of `space_to_depth`."""
    rows, columns, channels = xp.shape(grid)[-3:]
    batch, left = (-1,) * (len(grid.shape) - 3), channels // factor**2
    cut = xp.reshape(grid, (*batch, rows, columns, factor, factor, left))
    return xp.reshape(xp.swapaxes(cut, -4, -3), (*batch, rows * factor, columns * factor, left))
