"""The quality scale: what a number from 0 to 100 means.

One number, the quantisation step, sets the trade between rate and distortion. Qualities are
spaced evenly in its logarithm, as the ear and the eye judge ratios rather than differences.
"""

from typing import Any

import numpy as np

QUALITIES = 101
"""Qualities run from 0 (smallest file) to 100 (best picture)."""

COARSEST_STEP = 200 / 255
FINEST_STEP = 5 / 255
"""Quantisation steps at quality 0 and 100, for images in [0, 1]."""

LAGRANGE = 0.14
"""Squared quantisation steps of error that one bit must save.

High-rate theory gives 0.1155 (D = step**2 / 12 and 6.02 dB a bit); at the low rates used here
the dead zone moves the best value up.
"""

WORK = 0.01
"""What a level must save in a patch to be worth the decoder's time.

A share of what the patches of the picture cost on average, in bits and error. Attention learns to
leave a level out where it would save less.
"""

ROUNDING = 0.4
"""A latent becomes the symbol sign(y) floor(|y| + 0.4).

Less than one half: between two symbols the smaller one, which costs fewer bits, is preferred.
"""

TEXTURED_ABOVE = 0.015
"""Mean gradient of luma, in units of the full range a pixel, above which a patch is textured."""


SWITCH_ABOVE = 0.005
"""The same, above which training judges a patch by its structure, too.

Far less than "textured": what little structure calm patches have is soon lost, and counts as
much in structural similarity as that of busy ones.
"""


def check_quality(quality: int) -> int:
    """Return `quality` as an int, or raise `ValueError` when it is not a whole 0 to 100."""
    whole = isinstance(quality, int | np.integer) and not isinstance(quality, bool)
    if not whole or not 0 <= quality < QUALITIES:
        raise ValueError(
            f"quality must be a whole number from 0 to {QUALITIES - 1}. Received: "
            f"quality={quality!r}. Use 50 for a middle course."
        )
    return int(quality)


def quantisation_step(quality: Any) -> Any:
    """Quantisation step of qualities from 0 to 100, for images in [0, 1].

    A float for a number, otherwise an array or tensor like the one given.
    """
    return COARSEST_STEP * (FINEST_STEP / COARSEST_STEP) ** (quality / (QUALITIES - 1))


def quality_features(quality: np.ndarray | float) -> np.ndarray:
    """Chebyshev polynomials 0 to 3 of the quality mapped to [-1, 1], shape (..., 4).

    Everything in the networks that depends on the quality is a linear function of these four.
    """
    return np.stack(polynomials(np.asarray(quality, np.float32)), axis=-1)


def polynomials(quality: Any) -> list[Any]:
    """The four features of `quality_features` one by one, of an array or tensor of any library."""
    t = quality / ((QUALITIES - 1) / 2) - 1
    return [0 * t + 1, t, 2 * t**2 - 1, 4 * t**3 - 3 * t]
