"""Cutting a picture into fixed-size, non-overlapping patches, and putting it together again."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pad_to_multiple(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Repeat the last row and column until both sides are multiples of `multiple`.

    Pixels are added at the bottom and at the right, never at the top or left; a picture that fits
    already comes back as a copy.
    """
    _check_image(image)
    _check_size("multiple", multiple)
    missing = [(0, -side % multiple) for side in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="edge")


def to_patches(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Cut a picture (height, width, channels) into patches of size x size pixels.

    Returns an array (rows, cols, size, size, channels) of the picture's type; any picture from
    1 x 1 up is padded with `pad_to_multiple` first. `from_patches` is the exact inverse.
    """
    _check_size("size", size)
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


def space_to_depth(grid: Any, factor: int, xp: ModuleType = np) -> Any:
    """(..., h, w, c) to (..., h/factor, w/factor, factor*factor*c), in raster order.

    `xp` is the library that the array belongs to, `numpy` or `keras.ops`; one batch axis at most.
    """
    height, width, channels = grid.shape[-3:]
    rows, columns, batch = height // factor, width // factor, (-1,) * (len(grid.shape) - 3)
    cut = xp.reshape(grid, (*batch, rows, factor, columns, factor, channels))
    return xp.reshape(xp.swapaxes(cut, -4, -3), (*batch, rows, columns, factor**2 * channels))


def depth_to_space(grid: Any, factor: int, xp: ModuleType = np) -> Any:
    """Inverse of `space_to_depth`."""
    rows, columns, channels = grid.shape[-3:]
    batch, left = (-1,) * (len(grid.shape) - 3), channels // factor**2
    cut = xp.reshape(grid, (*batch, rows, columns, factor, factor, left))
    return xp.reshape(xp.swapaxes(cut, -4, -3), (*batch, rows * factor, columns * factor, left))


def _check_image(image: NDArray[Any]) -> None:
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(
            "image must have the shape (height, width, channels), all above 0. "
            f"Received: {image.shape}. Add an axis to a grey picture: image[..., None]."
        )


def _check_size(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be a number of pixels above 0. Received: {value}.")
