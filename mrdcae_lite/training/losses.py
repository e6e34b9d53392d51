"""The terms of the objective: bits, structural similarity, the texture switch, routing.

Images are (batch, height, width, 3) in [0, 1]. Distortions are maps, so that the switch can choose
patch by patch.
"""

from dataclasses import dataclass

import numpy as np

from mrdcae_lite.coding import entropy
from mrdcae_lite.core.rate_distortion import COMPLEXITY_PENALTY, LAMBDA
from mrdcae_lite.training.backend import ops
from mrdcae_lite.training.complexity import gradients, local_complexity, patch_means
from mrdcae_lite.training.layers import Tensor

SSIM_TAPS = 5  # pixels that the window of structural similarity reaches to each side


def symbol_bits(symbols: Tensor, index: Tensor) -> Tensor:
    """Bits of `symbols` under the Laplace tables `index`, shape of `symbols`.

    -log2 of the probability mass of [symbol - 1/2, symbol + 1/2]. Symbols are integers, or
    real ones where noise stands for rounding (Balle et al., 2017). Outside the middle interval the
    mass is a difference of two exponentials; its logarithm is taken in closed form, so that neither
    tail underflows.
    """
    inverse = ops.exp(-(entropy.LOG_NARROWEST + entropy.LOG_RATIO * index))  # 1 / scale
    size = ops.abs(symbols)
    tail = ops.log(-0.5 * ops.expm1(-ops.minimum(inverse, 60.0)))
    outside = -(ops.maximum(size, 0.5) - 0.5) * inverse + tail
    near = ops.minimum(size, 0.5)
    inside = ops.log1p(-0.5 * (ops.exp((near - 0.5) * inverse) + ops.exp(-(near + 0.5) * inverse)))
    return ops.where(size < 0.5, inside, outside) * (-1 / np.log(2))


def gaussian_matrix(size: int, sigma: float = 1.5) -> np.ndarray:
    """(size, size) matrix that blurs along one axis; rows sum to one, also at the border."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-(distance**2) / (2 * sigma**2))
    weights = np.where(abs(distance) <= SSIM_TAPS, weights, 0)
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
    mean_x, mean_y = blur(x), blur(y)  # (batch, 3, h, w)
    var_x = blur(x * x) - mean_x * mean_x
    var_y = blur(y * y) - mean_y * mean_y
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity = similar / ((mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2))
    return ops.transpose(similarity, (0, 2, 3, 1))


def edge_map(image: Tensor, restored: Tensor) -> Tensor:
    """Absolute error of the gradients, mean of both directions, shape of `image`."""
    pairs = zip(gradients(image, ops), gradients(restored, ops), strict=True)
    return sum(ops.abs(a - b) for a, b in pairs) / 2


def textured(image: Tensor, threshold: float) -> Tensor:
    """The switch, (batch, h/16, w/16): 1 where a patch's complexity exceeds `threshold`, else 0."""
    return ops.cast(local_complexity(image, ops) > threshold, image.dtype)


@dataclass(frozen=True)
class Distortion:
    """The distortion E of the objective: squared error, and structure where there is texture.

    On smooth patches E is the squared error, summed over the three channels. On textured patches it
    is `mse_share` of that plus `structure` 0.14 (25/255)**1.2 q**0.8 times the structural loss. The
    structural loss grows more slowly with the quantisation step q than the squared error does.

    Args:
        textured_loss: 1 - SSIM ("ssim"), error of gradients ("edge"), or "mse": no switching.
        mse_share: weight of the squared error on textured patches.
        structure: weight of the structural loss on textured patches.
        threshold: local complexity above which a patch counts as textured.

    Raises:
        ValueError: for another `textured_loss`.
    """

    textured_loss: str
    mse_share: float
    structure: float
    threshold: float

    def __post_init__(self) -> None:
        if self.textured_loss not in ("ssim", "edge", "mse"):
            raise ValueError(
                f"textured_loss must be 'ssim', 'edge' or 'mse'. Received: {self.textured_loss!r}."
            )

    def __call__(self, image: Tensor, restored: Tensor, step: Tensor) -> Tensor:
        """E per pixel of each patch of 16 x 16, (batch, h/16, w/16); `step` is (batch, 1, 1, 1)."""
        squared = 3 * patch_means((image - restored) ** 2, ops)
        if self.textured_loss == "mse":
            return squared
        ssim = self.textured_loss == "ssim"
        lost = 1 - ssim_map(image, restored) if ssim else edge_map(image, restored)
        weight = self.structure * LAMBDA * (25 / 255) ** 1.2 * step[..., 0] ** 0.8
        switch = textured(image, self.threshold)
        mixed = self.mse_share * squared + weight * patch_means(lost, ops)
        return (1 - switch) * squared + switch * mixed


def routing_loss(errors: list[Tensor], bits: list[Tensor], margins: list[Tensor]) -> Tensor:
    """Cross-entropy of attention's routing against the cheapest one in hindsight, a number.

    The level of a patch is one or two binary decisions, "medium is on" and "high is on" (ordinal
    logistic model; McCullagh, 1980). The target of each is whether the level saves more than it
    costs: the distortion it removes, less its bits and a complexity penalty for decoding it. The
    cross-entropy is weighted by the size of that saving relative to the mean of the image: where
    both decisions cost about the same, the sign is chance and a mistake harmless. No gradient flows
    into the savings.

    Args:
        errors: distortion without any level that may be left out, with the first of them, and so
            on, in units of bits; as what follows (batch, rows, columns), a number a patch.
        bits: of what is always on, and of each level that may be left out.
        margins: logit of each decision, the score of attention less its threshold.
    """
    penalty = COMPLEXITY_PENALTY * ops.mean(errors[-1] + sum(bits), axis=(1, 2), keepdims=True)
    savings: list[Tensor] = []
    for number in reversed(range(len(margins))):
        saved = errors[number] - errors[number + 1] - bits[number + 1] - penalty
        # A finer level needs this one, which is worth what that saves, too, if anything.
        savings.insert(0, saved + ops.relu(savings[0]) if savings else saved)
    for finer in range(1, len(savings)):
        savings[finer] = ops.minimum(savings[finer], savings[finer - 1])
    saved = ops.stop_gradient(ops.stack(savings, axis=-1))
    weights = ops.abs(saved)  # (batch, rows, columns, decisions)
    weights = weights / (ops.mean(weights, axis=(1, 2, 3), keepdims=True) + 1e-6)
    decisions = ops.stack(margins, axis=-1)
    return ops.mean(weights * ops.softplus(-decisions * ops.sign(saved)))
