"""What compression is measured by: distortion of the picture and size of the file.

Every picture is an array (height, width) or (height, width, channels) of any real type, and two are
of one shape. The range of their values is always passed as `data_range` (255 for uint8, 1 for
floats in [0, 1]): guessing it from the type gives confidently wrong values. What cannot be measured
is a `ValueError`: other shapes, a side below the least one, an impossible range.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from mrdcae_lite.core.distortion import Floats, check_data_range, check_pair

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11 x 11 window
SSIM_K1, SSIM_K2 = 0.01, 0.03
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SIDE = 2 * SSIM_RADIUS * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1
"""Shortest side of a picture, in pixels, that `ms_ssim` takes: the window must fit at the end."""


def ssim(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> float:
    """Structural similarity, mean over the channels; up to 1, for identical pictures.

    Parameters
    ----------
    image, restored : two pictures, no side shorter than the window (11 pixels)
    data_range : span of possible values

    Notes
    -----
    The settings are those of the paper: Gaussian weights of sigma 1.5 in an 11 x 11 window,
    population covariance, K1 = 0.01, K2 = 0.03, windows wholly inside the picture. The paper
    defines it for one channel; here it is taken for each and averaged. Computed by scikit-image.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
    similarity. IEEE Trans. Image Processing 13, 2004, eq. 13. doi:10.1109/TIP.2003.819861
    """
    return ssim_map(image, restored, data_range=data_range)[0]


def ssim_map(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> tuple[float, Floats]:
    """Structural similarity as one score and as a map; the parameters are those of `ssim`.

    The score is that of `ssim`: the mean of the map without the five pixels along its edges, whose
    windows reach outside. The map is of every pixel and channel, float64 of the pictures' shape.
    """
    first, second = _pictures(image, restored, data_range, 2 * SSIM_RADIUS + 1, "ssim")
    window = {"gaussian_weights": True, "sigma": SSIM_SIGMA, "use_sample_covariance": False}
    axis = None if first.ndim == 2 else -1
    found: Any = structural_similarity(
        first, second, data_range=data_range, channel_axis=axis, full=True, **window
    )
    return float(found[0]), found[1]


def ssim_db(score: float) -> float:
    """Structural similarity in dB, -10 log10(1 - score), of a result of `ssim` or `ms_ssim`.

    It spreads the scores near 1: 0.9 is 10 dB, 0.99 is 20 dB, 1 is infinite.
    """
    if not score <= 1:
        raise ValueError(
            f"score must be a similarity, at most 1. Received: {score!r}. "
            "Pass the result of ssim or ms_ssim."
        )
    return math.inf if score == 1 else -10 * math.log10(1 - score)


def ms_ssim(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> float:
    """Multi-scale structural similarity, mean over the channels; 0 to 1, for identical pictures.

    Parameters
    ----------
    image, restored : two pictures, no side shorter than 161 pixels: the window of 11 must still fit
        after four halvings
    data_range : span of possible values

    Notes
    -----
    Contrast and structure are compared at five scales, luminance at the coarsest only. A scale is
    the one before it, averaged over 2 x 2 pixels; an odd side has its last row repeated first. The
    means over the picture are raised to the weights and multiplied; a negative mean counts as 0.

    References
    ----------
    Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment.
    Asilomar Conference 2003, eq. 7 and section 3.2. doi:10.1109/ACSSC.2003.1292216
    """
    first, second = _pictures(image, restored, data_range, MS_SSIM_SIDE, "ms_ssim")
    product: Floats = np.ones(first.shape[2:])
    for weight in MS_SSIM_WEIGHTS[:-1]:
        _, contrast_structure = _similarity_terms(first, second, data_range)
        product = product * np.maximum(contrast_structure, 0) ** weight
        first, second = _halve(first), _halve(second)
    similarity, _ = _similarity_terms(first, second, data_range)
    return float(np.mean(product * np.maximum(similarity, 0) ** MS_SSIM_WEIGHTS[-1]))


def seam_ratio(
    image: ArrayLike, restored: ArrayLike, rows: Sequence[int], columns: Sequence[int]
) -> float:
    """Jump of the error across borders, relative to that between other neighbours.

    It is 1 where there is no seam, more where the borders can be seen.

    Parameters
    ----------
    image, restored : two pictures, whose difference jumps beside the borders, too
    rows, columns : of the first pixel after each border, from 1 to the side less 1; at least one

    Notes
    -----
    The mean absolute difference of the errors of two neighbouring pixels, over pairs that a border
    parts, divided by that over all others. It is taken of the error, so that edges of the picture
    itself do not count.
    """
    first, second = _pictures(image, restored)
    border, inside = [], []
    for axis, borders in enumerate((rows, columns)):
        side = first.shape[axis]
        if not all(0 < border < side for border in borders):
            raise ValueError(
                f"borders must be from 1 to {side - 1}, the side less 1. "
                f"Received: {sorted(borders)}."
            )
        jumps = abs(np.diff(first - second, axis=axis))
        at = np.isin(np.arange(1, side), borders)
        border.append(np.compress(at, jumps, axis).ravel())
        inside.append(np.compress(~at, jumps, axis).ravel())
    if not len(rows) and not len(columns):
        raise ValueError("rows and columns must name at least one border. Received: none.")
    others = np.concatenate(inside)
    if not others.any():
        raise ValueError(
            "the error must jump somewhere beside the borders, or there is nothing to compare "
            "with. Received: an even error. Pass a picture that was compressed more."
        )
    return float(np.concatenate(border).mean() / others.mean())


def _similarity_terms(first: Floats, second: Floats, data_range: float) -> tuple[Floats, Floats]:
    """Mean of SSIM, and of its contrast-structure factor, per channel (2004 paper, eq. 13)."""
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    mean_1, mean_2 = _window_mean(first), _window_mean(second)
    variances = _window_mean(first**2) - mean_1**2 + _window_mean(second**2) - mean_2**2
    covariance = _window_mean(first * second) - mean_1 * mean_2
    contrast_structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    similarity = (luminance * contrast_structure).mean(axis=(0, 1))
    return similarity, contrast_structure.mean(axis=(0, 1))


def _window_mean(values: Floats) -> Floats:
    r = SSIM_RADIUS
    means: Floats = gaussian_filter(values, sigma=SSIM_SIGMA, radius=r, axes=(0, 1))
    return means[r:-r, r:-r]


def _halve(values: Floats) -> Floats:
    odd = [(0, side % 2) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2)
    even = np.pad(values, odd, mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _pictures(
    image: ArrayLike, restored: ArrayLike, data_range: float = 1, least: int = 1, metric: str = ""
) -> tuple[Floats, Floats]:
    """Two pictures as float64, checked, with the least side in pixels that a metric takes."""
    check_data_range(data_range)
    first, second = check_pair(image, restored)
    if first.ndim not in (2, 3):
        raise ValueError(
            "pictures must have the shape (height, width) or (height, width, channels). "
            f"Received: {first.shape}. Pass one picture at a time."
        )
    height, width = first.shape[:2]
    if min(height, width) < least:
        raise ValueError(
            f"{metric} needs pictures of at least {least} x {least} pixels. "
            f"Received: height {height}, width {width}. Use psnr for smaller ones."
        )
    return first, second
