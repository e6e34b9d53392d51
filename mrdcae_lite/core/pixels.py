"""Pictures as arrays: their type, its check, and the way to floats and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
"""A picture: (height, width, 3), 0 to 255."""

Normalised = NDArray[np.float32]
"""A picture or a batch of them in [0, 1]."""


def check_rgb(image: RGB) -> None:
    """Raise `TypeError` or `ValueError` unless `image` is uint8 (height, width, 3), not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(
            "image must be a NumPy array of uint8. Received: "
            f"{getattr(image, 'dtype', type(image).__name__)}. Scale to 0..255, round and convert."
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"image must have the shape (height, width, 3), not empty. Received: {image.shape}."
        )


def is_grey(image: RGB) -> bool:
    """Whether the three channels are the same in every pixel."""
    return bool((image == image[..., :1]).all())


def normalise(image: RGB) -> Normalised:
    """uint8 in 0 ... 255 to float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def denormalise(image: NDArray[Any]) -> RGB:
    """Floats to uint8: scaled, rounded half to even and clipped. Inverse of `normalise`."""
    pixels: RGB = np.clip(np.rint(np.asarray(image) * 255), 0, 255).astype(np.uint8)
    return pixels
