"""What compression is measured by: distortion of the picture and size of the file.

Every picture is an array (height, width) or (height, width, channels) of any real type. The range
of its values is always passed as `data_range` (255 for uint8, 1 for floats in [0, 1]): guessing it
from the type gives confidently wrong values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from mrdcae_lite.core.distortion import Floats, check_data_range, check_pair

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11 x 11 window
SSIM_K1, SSIM_K2 = 0.01, 0.03
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@dataclass(frozen=True)
class BDRate:
    """A Bjontegaard delta rate and the range of quality it was averaged over."""

    percent: float
    low: float
    high: float


def ssim(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> float:
    """Structural similarity, a number up to 1 (identical pictures), mean over the channels.

    Notes
    -----
    The settings are those of the paper: Gaussian weights of sigma 1.5 in an 11 x 11 window,
    population covariance, K1 = 0.01, K2 = 0.03, windows wholly inside the picture. The paper
    defines it for one channel; here it is taken for each and averaged. Computed by scikit-image.

    Raises `ValueError` where a side is shorter than the window (11 pixels).

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
    similarity. IEEE Trans. Image Processing 13, 2004, eq. 13. doi:10.1109/TIP.2003.819861
    """
    return ssim_map(image, restored, data_range=data_range)[0]


def ssim_map(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> tuple[float, Floats]:
    """The score of `ssim`, and the similarity of every pixel and channel it is the mean of.

    The map has the shape of the pictures; the score leaves out the five pixels along its edges,
    whose windows reach outside.
    """
    check_data_range(data_range)
    first, second = _pictures(image, restored)
    _check_sides(first, 2 * SSIM_RADIUS + 1, "ssim")
    found: Any = structural_similarity(
        first,
        second,
        data_range=data_range,
        channel_axis=None if first.ndim == 2 else -1,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return float(found[0]), found[1]


def ssim_db(score: float) -> float:
    """A similarity (`ssim` or `ms_ssim`) on a scale in dB, -10 log10(1 - score).

    The scale spreads the scores near 1: 0.9 is 10 dB, 0.99 is 20 dB, 1 is infinite.
    """
    if not score <= 1:
        raise ValueError(
            f"score must be a similarity, at most 1. Received: {score!r}. "
            "Pass the result of ssim or ms_ssim."
        )
    return math.inf if score == 1 else -10 * math.log10(1 - score)


def ms_ssim(image: ArrayLike, restored: ArrayLike, *, data_range: float) -> float:
    """Multi-scale structural similarity, from 0 to 1 (identical pictures), mean over the channels.

    Notes
    -----
    Contrast and structure are compared at five scales, luminance at the coarsest only. A scale is
    the one before it, averaged over 2 x 2 pixels; an odd side has its last row repeated first. The
    means over the picture are raised to the weights and multiplied; a negative mean counts as 0.

    Raises `ValueError` where a side is shorter than 161 pixels: the window of 11 must still fit
    after four halvings.

    References
    ----------
    Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment.
    Asilomar Conference 2003, eq. 7 and section 3.2. doi:10.1109/ACSSC.2003.1292216
    """
    check_data_range(data_range)
    first, second = _pictures(image, restored)
    halvings = len(MS_SSIM_WEIGHTS) - 1
    _check_sides(first, 2 * SSIM_RADIUS * 2**halvings + 1, "ms_ssim")
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
    """How much more the error jumps across borders than elsewhere: 1 is no seam.

    The mean absolute difference of the errors of two neighbouring pixels, over pairs that a
    border parts divided by over all others. It is the error that is looked at, so that edges of
    the picture itself do not count.

    Args:
        image, restored: pictures of one shape, (height, width) or (height, width, channels).
        rows, columns: of the first pixel after each border, from 1 to the side less 1.

    Raises:
        ValueError: if the shapes differ, there is no border, one is not inside the picture, or
            the error does not jump anywhere else.
    """
    first, second = _pictures(image, restored)
    error = first - second
    for borders, side in ((rows, error.shape[0]), (columns, error.shape[1])):
        if not all(0 < border < side for border in borders):
            raise ValueError(
                f"borders must be from 1 to {side - 1}, the side less 1. "
                f"Received: {sorted(borders)}."
            )
    down, right = abs(np.diff(error, axis=0)), abs(np.diff(error, axis=1))
    at_rows, at_columns = np.zeros(len(down), bool), np.zeros(right.shape[1], bool)
    at_rows[np.asarray(rows, int) - 1] = True
    at_columns[np.asarray(columns, int) - 1] = True
    if not (at_rows.any() or at_columns.any()):
        raise ValueError("rows and columns must name at least one border. Received: none.")
    border = np.concatenate([down[at_rows].ravel(), right[:, at_columns].ravel()])
    inside = np.concatenate([down[~at_rows].ravel(), right[:, ~at_columns].ravel()])
    if not inside.any():
        raise ValueError(
            "the error must jump somewhere beside the borders, or there is nothing to compare "
            "with. Received: an even error. Pass a picture that was compressed more."
        )
    return float(border.mean() / inside.mean())


def bd_rate(
    anchor_rates: ArrayLike, anchor_qualities: ArrayLike, rates: ArrayLike, qualities: ArrayLike
) -> BDRate:
    """Mean difference in rate at equal quality against an anchor codec, in percent.

    -50 means: half the bytes of the anchor for the same quality. Rates are positive (bits per pixel
    or bytes), qualities grow with the rate (PSNR or SSIM in dB). The order of the points is free.

    Notes
    -----
    The logarithm of the rate is interpolated over quality by a monotone piecewise cubic (pchip) and
    integrated over the qualities both curves reach. The result depends on this range: it is
    returned as `low` and `high`, and belongs beside the figure.

    Raises `ValueError` for fewer than four points, a rate that is not positive, a quality that does
    not grow with the rate, or curves without a common range.

    References
    ----------
    Bjontegaard: Calculation of average PSNR differences between RD-curves. ITU-T VCEG-M33, 2001.
    Fritsch, Butland: A method for constructing local monotone piecewise cubic interpolants. SIAM J.
    Sci. Stat. Comput. 5, 1984. doi:10.1137/0905021
    """
    anchor = _rate_curve(anchor_rates, anchor_qualities, "the anchor")
    curve = _rate_curve(rates, qualities, "the codec")
    low, high = max(anchor.x[0], curve.x[0]), min(anchor.x[-1], curve.x[-1])
    if low >= high:
        raise ValueError(
            "the two curves must share a range of qualities. Received: "
            f"{anchor.x[0]:.2f} to {anchor.x[-1]:.2f} and {curve.x[0]:.2f} to {curve.x[-1]:.2f}. "
            "Measure both at more rates."
        )
    mean = (curve.integrate(low, high) - anchor.integrate(low, high)) / (high - low)
    return BDRate(percent=100 * math.expm1(mean), low=float(low), high=float(high))


def _rate_curve(rates: ArrayLike, qualities: ArrayLike, owner: str) -> "PchipInterpolator":
    from scipy.interpolate import PchipInterpolator  # slow; few need it

    x, y = np.asarray(qualities, np.float64), np.asarray(rates, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size < 4:
        raise ValueError(
            f"{owner} needs at least four rates and as many qualities. "
            f"Received: shapes {y.shape} and {x.shape}."
        )
    order = np.argsort(y)
    x, y = x[order], y[order]
    if not (np.isfinite(x).all() and np.isfinite(y).all() and y[0] > 0):
        raise ValueError(
            f"{owner} needs finite qualities and positive finite rates. "
            f"Received: rates {y.tolist()}, qualities {x.tolist()}."
        )
    if not (np.diff(x) > 0).all():
        raise ValueError(
            f"the quality of {owner} must grow with the rate. Received, by rate: {x.tolist()}. "
            "Leave out the points where it does not."
        )
    return PchipInterpolator(x, np.log(y))


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


def _pictures(image: ArrayLike, restored: ArrayLike) -> tuple[Floats, Floats]:
    first, second = check_pair(image, restored)
    if first.ndim not in (2, 3):
        raise ValueError(
            "pictures must have the shape (height, width) or (height, width, channels). "
            f"Received: {first.shape}. Pass one picture at a time."
        )
    return first, second


def _check_sides(picture: Floats, least: int, metric: str) -> None:
    height, width = picture.shape[:2]
    if min(height, width) < least:
        raise ValueError(
            f"{metric} needs pictures of at least {least} x {least} pixels. "
            f"Received: height {height}, width {width}. Use psnr for smaller ones."
        )
