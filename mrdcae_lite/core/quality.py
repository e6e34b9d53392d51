"""The quality scale: what a number from 0 to 100 means, and the scale of the effort.

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


DEFAULT_EFFORT, HIGHEST_EFFORT = 1, 5
"""Of the encoder: how long it searches for better symbols (`encoder.encode`)."""


def check_quality(quality: int) -> int:
    """The quality as an int; raises `ValueError` unless it is a whole number from 0 to 100."""
    return _check("quality", quality, QUALITIES - 1, 50)


def check_effort(effort: int) -> int:
    """The effort as an int; raises `ValueError` unless it is a whole number from 0 to 5."""
    return _check("effort", effort, HIGHEST_EFFORT, DEFAULT_EFFORT)


def _check(name: str, number: int, highest: int, usual: int) -> int:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or not 0 <= number <= highest:
        raise ValueError(
            f"{name} must be a whole number from 0 to {highest}. Received: {name}={number!r}. "
            f"Use {usual} to start with."
        )
    return int(number)


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
