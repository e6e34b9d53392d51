"""The trade-off between rate and distortion: each constant of it, and the formulas they stand in.

Training minimises the Lagrangian `D + LAMBDA * R` (Sullivan and Wiegand, 1998), with the distortion
D in squared quantisation steps and the rate R in bits. The encoder minimises the same with a
smaller multiplier, `RDOQ_LAMBDA`: it only moves symbols of a codec that was trained already.

`xp` is the library that the arrays belong to: `numpy`, or `keras.ops` where gradients are needed.
"""

from types import ModuleType
from typing import Any

import numpy as np

LAMBDA = 0.14
"""Squared quantisation steps of error that one bit must save, in training.

High-rate theory gives 0.1155 (D = step**2 / 12 and 6.02 dB a bit); at the low rates used here
the dead zone moves the best value up.
"""

RDOQ_LAMBDA = 0.05
"""The same when the encoder chooses between two symbols.

Less than `LAMBDA`, since training has already widened the dead zone. On validation photographs
0.03, 0.05, 0.08 and 0.12 give a BD-rate of +0.3, 0, -0.1 and +0.4 % in PSNR, and of -0.1, 0, +0.5
and +1.7 % in SSIM.
"""

COMPLEXITY_PENALTY = 0.01
"""Price of decoding one more level in a patch: the complexity term of the Lagrangian.

A share of what the patches of the picture cost on average, in rate and distortion together.
Attention learns to leave a level out where it would save less.
"""

ROUNDING_OFFSET = 0.4
"""A latent y becomes the symbol sign(y) floor(|y| + 0.4).

Less than one half: the dead zone around zero is wider than the other intervals, as symbols near
zero cost fewer bits (dead-zone quantisation; Sullivan, 1996).
"""

TEXTURE_THRESHOLD = 0.015
"""Local complexity above which an evaluation counts a patch as textured."""

SWITCH_THRESHOLD = 0.005
"""Local complexity above which training judges a patch by its structure, too.

Far below `TEXTURE_THRESHOLD`: what little structure calm patches have is soon lost, and counts as
much in structural similarity as that of busy ones.
"""

SWITCH_PATCH = 16
"""Side in pixels of the patches whose local complexity is measured."""


def quantise(latents: Any, xp: ModuleType = np) -> Any:
    """Symbols of latents, whole numbers in the shape and type of `latents`."""
    return xp.sign(latents) * xp.floor(xp.abs(latents) + ROUNDING_OFFSET)


def local_complexity(image: Any, xp: ModuleType = np) -> Any:
    """Mean gradient magnitude of luma in each whole patch of 16 x 16 pixels.

    Luma is the mean of red, green and blue. Gradients are forward differences, zero at the far
    border, in units of the full range a pixel. A slow gradient across a patch counts as smooth,
    which a variance would not see.

    Args:
        image: (..., height, width, 3) in [0, 1].
        xp: `numpy` or `keras.ops`.

    Returns (..., height // 16, width // 16), at least 0.
    """
    luma = xp.mean(image, axis=-1)  # (..., height, width)
    beside = [(0, 0)] * (len(luma.shape) - 2)
    down = xp.pad(luma[..., 1:, :] - luma[..., :-1, :], [*beside, (0, 1), (0, 0)])
    right = xp.pad(luma[..., :, 1:] - luma[..., :, :-1], [*beside, (0, 0), (0, 1)])
    return patch_means(xp.sqrt(down**2 + right**2 + 1e-12)[..., None], xp)


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
