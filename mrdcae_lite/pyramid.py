"""The orthonormal DCT pyramid the codec starts from, as plain matrices.

A 32 x 32 colour patch holds 3072 numbers. Three orthonormal steps sort them by scale:

* every 8 x 8 block becomes 192 coefficients (an orthonormal colour transform and a DCT);
* the 4 x 4 lowest of each colour are merged, two by two blocks, into 192 coefficients at 1/16;
* the 4 x 4 lowest of those are merged once more, into 192 coefficients at 1/32.

What a step does not pass on is a *level*: high has 144 channels at 1/8, medium 144 at 1/16 and
low 192 at 1/32, and 16*144 + 4*144 + 192 = 3072 again, so nothing is lost and nothing is doubled.
With a single resolution the first step is the last, and its 192 channels at 1/8 are the only level.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.patches import depth_to_space

Grid = NDArray[np.float32]

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
    matrix = np.sqrt(2 / size) * np.cos(np.pi * (2 * position + 1) * frequency / (2 * size))
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
    def scale(self) -> float:
        """Latent vectors along the side of a patch: a whole number, or one half at 1/64."""
        return PATCH / self.stride


@cache
def levels(resolutions: int = 3) -> tuple[Level, ...]:
    """The levels from coarse to fine, for one (of full depth at 1/8) to four (from 1/64 to 1/8)."""
    detail = bands(coarsest=False)[CARRIED:]
    found = []
    for step in reversed(range(resolutions)):
        coarsest, few = step == resolutions - 1, 8 * 2**step >= PATCH  # few cells, dear symbols
        groups: tuple[int, ...]
        if coarsest:
            groups = (4, 12, 48, 32, 96) if few else (16, 48, 32, 96)
        else:
            groups = (8, 16, 24, 32, 64) if few else (24, 24, 96)
        order = bands(coarsest=True) if coarsest else detail
        found.append(Level(8 * 2**step, order, groups))
    return tuple(found)


SWITCHED = 2
"""Levels that attention may leave out in a patch, the finest ones; the coarser are always there."""


def always_on(resolutions: int) -> int:
    """Levels that every patch has, coarse ones first."""
    return max(resolutions - SWITCHED, 1)


def patches_a_cell(resolutions: int) -> int:
    """Patches along the side of a latent vector of the coarsest level, at least one."""
    return max(levels(resolutions)[0].stride // PATCH, 1)


LUMA_DETAIL = tuple(
    n for n, b in enumerate(bands(coarsest=False)[:CARRIED]) if b.colour == 0 and b.v + b.h > 0
)
"""The carried channels that tell the contrast of their cell: luma without its mean."""

FAINTEST = 4 / 255
"""Standard deviation of luma below which contrasts are not told apart."""

USUAL = 0.04
"""Standard deviation of luma, about, at which a step stays as it is."""

MASKING = 0.3
"""Exponent by which a step grows with the contrast around it."""


def contrast_gain(coarser: list[Grid], step: float, resolutions: int = 3) -> Grid:
    """How much finer a level is quantised for the contrast of the place, (height, width, 1).

    Beside strong contrast an error is seen less than on a calm surface (contrast masking; Legge
    and Foley, 1980), and structural similarity counts it less. So the latents of the medium and
    the high level are multiplied by a factor before rounding, which falls as the contrast grows
    that the coarser levels show. The decoder has those already and computes the same factor: no
    bit of the file is spent on it.

    Args:
        coarser: the levels before it, low or low and medium, in quantisation steps.
        step: the quantisation step, for images in [0, 1].
        resolutions: levels of the pyramid.
    """
    grid, cell = coarser[0], levels(resolutions)[0].stride
    for number in range(len(coarser)):
        if number > 0:
            grid = np.concatenate([grid, coarser[number]], axis=-1)
        plain = basis(resolutions - 1 - number, coarsest=number == 0).astype(np.float32)
        grid, cell = depth_to_space(grid @ plain, 2), cell // 2
    luma = grid[..., LUMA_DETAIL] * np.float32(step)
    variance = (luma**2).sum(axis=-1, keepdims=True) / (3 * cell**2)
    return ((variance + FAINTEST**2) / USUAL**2) ** (-MASKING / 2)


BESIDE = 4
"""Pixels on either side of a block's border that deblocking looks at and changes."""


CELL = 4
"""Side in pixels of the cells that the refinement works on."""


def cells_a_period(resolutions: int) -> int:
    """Cells of the refinement after which the pattern of all block borders repeats."""
    return max(levels(resolutions)[0].stride, PATCH) // CELL


def borders(resolutions: int = 3) -> tuple[tuple[int, int], ...]:
    """Where blocks meet, coarse to fine: kinds of borders as (period, first), in pixels.

    A border lies before the pixels first, first + period, ... of a row or column: 32 apart where
    patches meet, then those between that only the medium or only the high level has.
    """
    stride = levels(resolutions)[0].stride
    between = [(2 * stride >> n, stride >> n) for n in range(1, resolutions)]
    return ((stride, stride), *between)


def typical_std(order: tuple[Band, ...], stride: int) -> NDArray[np.float64]:
    """Rough standard deviation of each band for photographs in [0, 1], shape (bands,).

    Amplitudes of natural images fall as one over the frequency (Field, 1987); only the starting
    point of training depends on it.
    """
    colour = np.array([1.0, 0.25, 0.12])
    return np.array(
        [
            0.45 * (stride / 8) * colour[b.colour] / (0.16 + (b.v**2 + b.h**2) / 2) ** 0.62
            for b in order
        ]
    )
