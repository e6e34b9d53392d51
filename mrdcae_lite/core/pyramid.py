"""The orthonormal DCT pyramid the codec starts from, as plain matrices.

A 32 x 32 colour patch holds 3072 numbers. Three orthonormal steps sort them by scale:

* every 8 x 8 block becomes 192 coefficients (an orthonormal colour transform and a DCT);
* the 4 x 4 lowest of each colour are merged, two by two blocks, into 192 coefficients at 1/16;
* the 4 x 4 lowest of those are merged once more, into 192 coefficients at 1/32.

What a step does not pass on is a *level*: high has 144 channels at 1/8, medium 144 at 1/16 and
low 192 at 1/32, and 16*144 + 4*144 + 192 = 3072 again, so nothing is lost and nothing is doubled.
With a single resolution the first step is the last, and its 192 channels at 1/8 are the only level.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core.patches import depth_to_space

PATCH = 32
"""Side of a patch in pixels: one low-resolution latent vector."""

CARRIED = 48
"""Channels that a step passes on to the next coarser level: 4 x 4 frequencies of 3 colours."""

COLOUR = np.array([[1, 1, 1] / np.sqrt(3.0), [1, 0, -1] / np.sqrt(2.0), [1, -2, 1] / np.sqrt(6.0)])
"""Orthonormal colour transform, rows: luma and two colour differences of (red, green, blue)."""


class Band(NamedTuple):
    """One coefficient of an 8 x 8 block: vertical and horizontal frequency, and colour row."""

    v: int
    h: int
    colour: int


def dct_matrix(size: int) -> NDArray[np.float64]:
    """Orthonormal DCT-II, rows are frequencies (Ahmed, Natarajan and Rao, 1974).

    Returns an array of shape (size, size) with `matrix @ matrix.T` equal to the identity.
    """
    frequency, position = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix: NDArray[np.float64] = np.sqrt(2 / size) * np.cos(
        np.pi * (2 * position + 1) * frequency / (2 * size)
    )
    matrix[0] /= np.sqrt(2)
    return matrix


def _by_frequency(bands: list[Band]) -> list[Band]:
    return sorted(bands, key=lambda b: (b.colour > 0, b.v + b.h, b.v, b.colour))


@cache
def bands(*, coarsest: bool) -> tuple[Band, ...]:
    """Order of the 192 output channels of a step.

    Below the coarsest step, the first `CARRIED` channels are the 4 x 4 lowest frequencies in
    raster order, which the next step merges; the other 144 form the level. Within a level, luma
    comes before chroma and low frequencies before high ones.
    """
    every = [Band(v, h, c) for v in range(8) for h in range(8) for c in range(3)]
    if coarsest:
        return tuple(_by_frequency(every))
    carried = [b for b in every if b.v < 4 and b.h < 4]
    return tuple(carried + _by_frequency([b for b in every if b not in carried]))


@cache
def pixel_basis(*, coarsest: bool = False) -> NDArray[np.float64]:
    """First step: (192, 192), from an 8 x 8 x 3 pixel block (raster order) to its bands."""
    dct = dct_matrix(8)
    order = bands(coarsest=coarsest)
    rows = [np.einsum("y,x,c->yxc", dct[b.v], dct[b.h], COLOUR[b.colour]) for b in order]
    return np.stack(rows).reshape(192, 192)


@cache
def merge_basis(*, coarsest: bool) -> NDArray[np.float64]:
    """Second and third step: (192, 192), from 2 x 2 neighbours of 48 carried bands to 192 bands.

    Each neighbour's 4 x 4 frequencies go back to a 4 x 4 picture (inverse DCT), the four
    pictures side by side make one of 8 x 8, and that is transformed as a whole.
    """
    small, large = dct_matrix(4), dct_matrix(8).reshape(8, 2, 4)
    half = np.einsum("vip,fp->vif", large, small)  # 8 frequencies from (neighbour, 4 frequencies)
    rows = []
    for band in bands(coarsest=coarsest):
        row = np.zeros((2, 2, 4, 4, 3))
        row[..., band.colour] = np.einsum("iv,jh->ijvh", half[band.v], half[band.h])
        rows.append(row.reshape(-1))
    return np.stack(rows)


def basis(step: int, *, coarsest: bool) -> NDArray[np.float64]:
    """Matrix (192, 192) of a step: 0 for pixels to 1/8, 1 for 1/8 to 1/16, 2 for 1/16 to 1/32."""
    return pixel_basis(coarsest=coarsest) if step == 0 else merge_basis(coarsest=coarsest)


class Level(NamedTuple):
    """One level of the pyramid.

    Attributes:
        stride: pixels between two latent vectors.
        bands: of its channels.
        groups: channels coded together: luma from coarse to fine first, then chroma.
    """

    stride: int
    bands: tuple[Band, ...]
    groups: tuple[int, ...]

    @property
    def scale(self) -> int:
        """Latent vectors along the side of a patch."""
        return PATCH // self.stride


@cache
def levels(resolutions: int = 3) -> tuple[Level, ...]:
    """The levels from coarse to fine: three (low, medium and high), or one of full depth at 1/8."""
    coarsest = Level(4 * 2**resolutions, bands(coarsest=True), (16, 48, 32, 96))
    detail = bands(coarsest=False)[CARRIED:]
    finer = [Level(8 * 2**step, detail, (24, 24, 96)) for step in reversed(range(resolutions - 1))]
    return (coarsest, *finer)


LUMA_DETAIL = tuple(
    n for n, b in enumerate(bands(coarsest=False)[:CARRIED]) if b.colour == 0 and b.v + b.h > 0
)
"""The carried channels that tell the contrast of their cell: luma without its mean."""

CONTRAST_FLOOR = 4 / 255
"""Standard deviation of luma below which contrasts are not told apart."""

REFERENCE_CONTRAST = 0.04
"""Standard deviation of luma at which a quantisation step stays about as it is."""

MASKING_EXPONENT = 0.3
"""Exponent by which a quantisation step grows with the contrast around it."""


def contrast_gain(coarser: Sequence[Any], step: Any, xp: ModuleType = np) -> Any:
    """Factor of a level's latents before rounding, from the contrast that coarser levels show.

    Beside strong contrast an error is seen less than on a calm surface (contrast masking; Legge
    and Foley, 1980), and structural similarity counts it less. So the latents of the medium and
    the high level are multiplied by a factor that falls as the contrast grows. The decoder has the
    coarser levels already and computes the same factor: no bit of the file is spent on it.

    Args:
        coarser: the dequantised levels before it, low or low and medium, in quantisation steps.
        step: the quantisation step, for images in [0, 1]; (batch, 1, 1, 1) for a batch.
        xp: the library that the arrays belong to, `numpy` or `keras.ops`.

    Returns (..., height, width, 1) on the grid of the level.
    """
    grid, cell = coarser[0], PATCH  # pixels that a cell covers: 32, 16 and, at the end, 8
    for number in range(len(coarser)):
        if number > 0:
            grid = xp.concatenate([grid, coarser[number]], axis=-1)
        untrained = basis(2 - number, coarsest=number == 0).astype(np.float32)
        grid, cell = depth_to_space(xp.matmul(grid, untrained), 2, xp), cell // 2
    luma = xp.take(grid, np.array(LUMA_DETAIL), axis=-1) * step  # (..., height, width, 15)
    variance = xp.sum(luma**2, axis=-1, keepdims=True) / (3 * cell**2)  # 3: see `COLOUR`
    ratio = (variance + CONTRAST_FLOOR**2) / REFERENCE_CONTRAST**2
    return xp.power(ratio, -MASKING_EXPONENT / 2)


def level_masks(routing: NDArray[np.uint8], resolutions: int = 3) -> list[NDArray[np.bool_]]:
    """Where each level is on, on its own grid, from the level 1, 2 or 3 of each patch."""
    return [
        np.repeat(np.repeat(routing > number, level.scale, axis=0), level.scale, axis=1)
        for number, level in enumerate(levels(resolutions))
    ]


DEBLOCKING_TAPS = 4
"""Pixels on either side of a block edge that deblocking looks at and changes."""


def block_edges(resolutions: int = 3) -> tuple[tuple[int, int], ...]:
    """Where blocks meet, coarse to fine: kinds of edges as (period, first), in pixels.

    An edge lies before the pixels first, first + period, ... of a row or column: 32 apart where
    patches meet, then those between that only the medium or only the high level has.
    """
    stride = levels(resolutions)[0].stride
    between = [(2 * stride >> n, stride >> n) for n in range(1, resolutions)]
    return ((stride, stride), *between)


def typical_std(order: tuple[Band, ...], stride: int) -> NDArray[np.float64]:
    """Rough standard deviation of each band for photographs in [0, 1], shape (bands,).

    Amplitudes of natural images fall as one over the frequency (Field, 1987). Training starts from
    it, and residual blocks measure their input by it: it belongs to the format.
    """
    colour = np.array([1.0, 0.25, 0.12])
    return np.array(
        [
            0.45 * (stride / 8) * colour[b.colour] / (0.16 + (b.v**2 + b.h**2) / 2) ** 0.62
            for b in order
        ]
    )
