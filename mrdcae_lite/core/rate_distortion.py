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


def quantise(latents: Any, xp: ModuleType = np) -> Any:
    """Symbols of latents, integers in the shape and type of `latents`."""
    return xp.sign(latents) * xp.floor(xp.abs(latents) + ROUNDING_OFFSET)
