"""Local complexity of a picture, which throws the switch of the loss; plain arithmetic.

`xp` is the library that the arrays belong to: `numpy`, or `keras.ops` where gradients are needed.
"""

from types import ModuleType
from typing import Any

import numpy as np

TEXTURE_THRESHOLD = 0.015
"""Local complexity above which an evaluation counts a patch as textured."""

SWITCH_THRESHOLD = 0.005
"""Local complexity above which training judges a patch by its structure, too.

Lower, as what little structure smooth regions have is soon lost, and counts as much in structural
similarity as that of textured ones.
"""

SWITCH_PATCH = 16  # side in pixels of the patches whose local complexity is measured


def local_complexity(image: Any, xp: ModuleType = np) -> Any:
    """Mean gradient magnitude of luma in each whole patch of 16 x 16 pixels.

    From (..., height, width, 3) in [0, 1] to (..., height // 16, width // 16), at least 0, in units
    of the full range a pixel. Luma is the mean of red, green and blue. A slow gradient across a
    patch counts as smooth, which a variance would not see.
    """
    down, right = gradients(xp.mean(image, axis=-1, keepdims=True), xp)
    return patch_means(xp.sqrt(down**2 + right**2), xp)


def gradients(image: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """Forward differences down and right, zero at the far border, shapes of `image`."""
    beside = [(0, 0)] * (len(image.shape) - 3)
    down = xp.pad(image[..., 1:, :, :] - image[..., :-1, :, :], [*beside, (0, 1), (0, 0), (0, 0)])
    right = xp.pad(image[..., :, 1:, :] - image[..., :, :-1, :], [*beside, (0, 0), (0, 1), (0, 0)])
    return down, right


def patch_means(values: Any, xp: ModuleType = np) -> Any:
    """Means over each whole patch of 16 x 16 pixels and over the channels.

    From (..., height, width, channels) to (..., height // 16, width // 16); pixels beyond the last
    whole patch are left out.
    """
    height, width, channels = values.shape[-3:]
    rows, columns = height // SWITCH_PATCH, width // SWITCH_PATCH
    whole = values[..., : rows * SWITCH_PATCH, : columns * SWITCH_PATCH, :]
    batch = (-1,) * (len(values.shape) - 3)
    cut = (*batch, rows, SWITCH_PATCH, columns, SWITCH_PATCH, channels)
    return xp.mean(xp.reshape(whole, cut), axis=(-4, -2, -1))
