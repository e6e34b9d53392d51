"""The trade-off between rate and distortion: each constant of it, and the formulas they stand in.

Training minimises the Lagrangian `D + LAMBDA * R` (Sullivan and Wiegand, 1998), with the distortion
D in squared quantisation steps and the rate R in bits. The encoder minimises the same with the
smaller multiplier `rdoq_lambda`, since it only moves symbols of a codec that was trained already;
where the latents were adapted to the decoder, `ADAPTED_PRICE` raises it again.

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

RDOQ_OFFSET = 0.44
"""The same where the encoder then chooses between this symbol and the one that is nearer to zero.

What it knows of the bits decides better than a wide dead zone does. On five validation photographs
0.37, 0.40, 0.44 and 0.48 give a BD-rate of +1.3, +0.4, 0 and +0.2 % in PSNR, and of +0.9, +0.2, 0
and +0.1 % in SSIM.
"""


ADAPTED_PRICE = 1.5
"""Factor of `rdoq_lambda` for latents that were adapted to the decoder (`encoder.adapt`).

They ask for more bits than faint detail is worth at the old price. It was chosen for SSIM, before
`encoder.EMPHASIS`: on 256-pixel crops of ten validation photographs 1.5 and 1.8 give a BD-rate of
-6.2 and -5.9 % in SSIM and of -2.2 and -2.5 % in PSNR, after two passes with an emphasis of 0.8.
"""


def rdoq_lambda(quality: float) -> float:
    """`LAMBDA` when the encoder chooses between two symbols; `quality` is 0 to 100.

    Less than `LAMBDA`, since training has already widened the dead zone, and by more at low
    qualities, where a symbol left out misleads the context model most. On six validation
    photographs a rise like this saves 0.2 to 0.5 % of the bits at equal PSNR and none to 0.2 % at
    equal SSIM against 0.05 at all qualities.
    """
    return 0.0375 + 0.0007 * quality


def quantise(latents: Any, xp: ModuleType = np, offset: float = ROUNDING_OFFSET) -> Any:
    """Symbols of latents, integers in the shape and type of `latents`."""
    return xp.sign(latents) * xp.floor(xp.abs(latents) + offset)
