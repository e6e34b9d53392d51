"""The quality scale: what a number from 0 to 100 means.

One number, the quantisation step, sets the trade-off between rate and distortion. Qualities are
spaced evenly in its logarithm, so that each raises PSNR by about the same number of decibels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUALITIES = 101
"""Number of qualities: 0 (smallest file) to 100 (best picture)."""

COARSEST_STEP = 200 / 255
FINEST_STEP = 5 / 255
"""Quantisation steps at quality 0 and 100, for images in [0, 1]."""


def check_quality(quality: int) -> int:
    """The quality as an int; raises `ValueError` unless it is a whole number from 0 to 100."""
    whole = isinstance(quality, int | np.integer) and not isinstance(quality, bool)
    if not whole or not 0 <= quality < QUALITIES:
        raise ValueError(
            f"quality must be a whole number from 0 to {QUALITIES - 1}. Received: "
            f"quality={quality!r}. Use 50 to start with."
        )
    return int(quality)


def quantisation_step(quality: Any) -> Any:
    """Quantisation step of qualities from 0 to 100, for images in [0, 1].

    A float for a number, otherwise an array or tensor like the one given.
    """
    return COARSEST_STEP * (FINEST_STEP / COARSEST_STEP) ** (quality / (QUALITIES - 1))


def quality_features(quality: NDArray[Any] | float) -> NDArray[np.float32]:
    """Chebyshev polynomials 0 to 3 of the quality mapped to [-1, 1], shape (..., 4).

    Everything in the networks that depends on the quality is a linear function of these four.
    """
    return np.stack(chebyshev(np.asarray(quality, np.float32)), axis=-1)


def chebyshev(quality: Any) -> list[Any]:
    """The four features of `quality_features` one by one, of an array or tensor of any library."""
    t = quality / ((QUALITIES - 1) / 2) - 1
    return [0 * t + 1, t, 2 * t**2 - 1, 4 * t**3 - 3 * t]
