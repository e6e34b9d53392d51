"""Augmentation in NumPy: crops, rotation, flips, changes of illumination; a seed repeats it."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core.pixels import Normalised


class Photograph(Protocol):
    """What crops are cut from: an array (height, width, channels), or what is sliced like one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, area: Any) -> NDArray: ...


def rotate(image: NDArray, rng: np.random.Generator) -> NDArray:
    """Rotation by 0, 90, 180 or 270 degrees: no pixel is interpolated."""
    return np.rot90(image, int(rng.integers(4)))


def flip(image: NDArray, rng: np.random.Generator) -> NDArray:
    """Left-right mirror image, half of the time."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def illuminate(image: Normalised, rng: np.random.Generator) -> Normalised:
    """Change of illumination: gain 0.7 to 1.3 and gamma 0.8 to 1.25, clipped to [0, 1]."""
    gain, gamma = rng.uniform(0.7, 1.3), np.exp(rng.uniform(-0.22, 0.22))
    return np.clip(gain * image**gamma, 0, 1).astype(np.float32)


def crop(image: Photograph, size: int, rng: np.random.Generator) -> NDArray:
    """A random `size` x `size` piece; raises `ValueError` if the image is smaller."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ValueError(
            f"an image of at least {size}x{size} pixels is needed for crops of that size. "
            f"Received: {width}x{height}. Leave it out or ask for smaller crops."
        )
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return image[top : top + size, left : left + size]
