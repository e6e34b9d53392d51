"""The distortion side of training: squared error, structural similarity, and the switch.

Images are (batch, height, width, 3) in [0, 1]. All maps are means over a patch, so that the
switch can be thrown patch by patch.
"""

from typing import TypeAlias

import keras
import numpy as np
from keras import ops

from mrdcae_lite.training.complexity import local_complexity

Tensor: TypeAlias = keras.KerasTensor


def gaussian_matrix(size: int, sigma: float = 1.5) -> np.ndarray:
    """(size, size) matrix that blurs along one axis; rows sum to one, also at the border."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.where(abs(distance) <= 5, np.exp(-(distance**2) / (2 * sigma**2)), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def blur(planes: Tensor) -> Tensor:
    """Gaussian window of structural similarity (11 x 11, sigma 1.5) over (..., h, w) planes.

    Two matrix products: for crops this is far quicker than a convolution with one channel.
    """
    height, width = ops.shape(planes)[-2:]
    return ops.matmul(gaussian_matrix(height), ops.matmul(planes, gaussian_matrix(width).T))


def ssim_map(image: Tensor, restored: Tensor) -> Tensor:
    """Structural similarity of every pixel and channel (Wang et al., 2004, equation 13).

    Constants for a data range of 1. Returns the shape of `image`, at most 1.
    """
    x, y = ops.transpose(image, (0, 3, 1, 2)), ops.transpose(restored, (0, 3, 1, 2))
    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x * mean_x
    var_y = blur(y * y) - mean_y * mean_y
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    )
    return ops.transpose(similarity, (0, 2, 3, 1))


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along both axes, zero at the far border, shapes of `image`."""
    down = ops.pad(image[:, 1:] - image[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    right = ops.pad(image[:, :, 1:] - image[:, :, :-1], ((0, 0), (0, 0), (0, 1), (0, 0)))
    return down, right


def edge_map(image: Tensor, restored: Tensor) -> Tensor:
    """Absolute error of the gradients, shape of `image`: what an edge-preserving loss counts."""
    pairs = zip(gradients(image), gradients(restored), strict=True)
    return sum(ops.abs(a - b) for a, b in pairs) / 2


def textured(image: Tensor, threshold: float) -> Tensor:
    """The switch: 1 for patches whose complexity is above `threshold`, 0 for smooth ones."""
    return ops.cast(local_complexity(image, ops) > threshold, image.dtype)
