"""The orthonormal DCT pyramid the codec starts from, as plain matrices.

A 64 x 64 colour block holds 12,288 numbers. Orthonormal steps sort them by scale:

* every 8 x 8 block becomes 192 coefficients (an orthonormal colour transform and a DCT);
* the 4 x 4 lowest of each colour are merged, two by two blocks, into 192 coefficients at 1/16;
* the 4 x 4 lowest of those are merged again, into 192 at 1/32, and those into 192 at 1/64.

What a step does not pass on is a *level* of the pyramid: 144 channels at 1/8, at 1/16 and at 1/32,
and all 192 at 1/64. As 64*144 + 16*144 + 4*144 + 192 = 12,288, nothing is lost and nothing doubled.
A pyramid of fewer resolutions ends earlier; with one, the 192 channels at 1/8 are the only level.

Attention switches the two finest levels patch by patch. Files, and the public level 1, 2 or 3, know
three: *high* and *medium*, which are those two, and *low*, which is all that is always on.
"""

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core.patches import depth_to_space

PATCH = 32
"""Side in pixels of a patch, the unit of routing."""

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
    """Second and later steps: (192, 192), from 2 x 2 neighbours of 48 carried bands to 192 bands.

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
    """Matrix (192, 192) of a step: 0 from pixels to 1/8, n from 1/(4 * 2**n) to half of that."""
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


@cache
def levels(resolutions: int) -> tuple[Level, ...]:
    """The levels from coarse to fine: of one resolution (1/8) to four (1/64, 1/32, 1/16, 1/8).

    On coarse grids there are few positions and dear symbols, so their groups are smaller: more
    steps, each of which knows more.
    """
    found = []
    for stage in reversed(range(resolutions)):
        coarsest, coarse = stage == resolutions - 1, 8 << stage >= PATCH
        groups: tuple[int, ...]
        if coarsest:
            groups = (4, 12, 48, 32, 96) if coarse else (16, 48, 32, 96)
        else:
            groups = (8, 16, 24, 32, 64) if coarse else (24, 24, 96)
        order = bands(coarsest=coarsest)
        found.append(Level(8 << stage, order if coarsest else order[CARRIED:], groups))
    return tuple(found)


def always_on(resolutions: int) -> int:
    """How many levels every patch has, coarse ones first: all but the two finest, at least one."""
    return max(resolutions - 2, 1)


def section(level: int, resolutions: int) -> int:
    """The section of a file (0 low, 1 medium, 2 high) that a level of the pyramid is written to."""
    return max(level - always_on(resolutions) + 1, 0)


def unit(resolutions: int) -> int:
    """Side in pixels of what a picture is padded to: a patch, or a vector of the coarsest level."""
    return max(levels(resolutions)[0].stride, PATCH)


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


def contrast_gain(coarser: Sequence[Any], step: Any, resolutions: int, xp: ModuleType = np) -> Any:
    """Factor of a level's latents before rounding, from the contrast that coarser levels show.

    Beside strong contrast an error is seen less than on a smooth surface (contrast masking; Legge
    and Foley, 1980), and structural similarity counts it less. So the latents of the medium and
    the high level are multiplied by a factor that falls as the contrast grows. The decoder has the
    coarser levels already and computes the same factor: no bit of the file is spent on it.

    Args:
        coarser: the dequantised levels before it, in quantisation steps.
        step: the quantisation step, for images in [0, 1]; (batch, 1, 1, 1) for a batch.
        resolutions: of the pyramid.
        xp: the library that the arrays belong to, `numpy` or `keras.ops`.

    Returns (..., height, width, 1) on the grid of the level.
    """
    stage = resolutions - 1
    grid, last = coarser[0], len(coarser) - 1
    for number in range(len(coarser)):
        if number > 0:
            grid = xp.concatenate([grid, coarser[number]], axis=-1)
        untrained = basis(stage, coarsest=number == 0).astype(np.float32)
        if number == last:  # of the last step only luma is looked at
            children = untrained.reshape(len(untrained), 4, CARRIED)
            untrained = children[..., list(LUMA_DETAIL)].reshape(len(untrained), -1)
        grid, stage = depth_to_space(xp.matmul(grid, untrained), 2, xp), stage - 1
    luma = grid * step  # (..., height, width, 15)
    pixels = (8 << stage) ** 2  # of a cell
    variance = xp.sum(luma**2, axis=-1, keepdims=True) / (3 * pixels)  # 3: see `COLOUR`
    ratio = (variance + CONTRAST_FLOOR**2) / REFERENCE_CONTRAST**2
    return xp.power(ratio, -MASKING_EXPONENT / 2)


def level_masks(routing: NDArray[np.uint8], resolutions: int) -> list[NDArray[np.bool_]]:
    """Where each level is on, on its own grid, coarse to fine.

    `routing` is the level 1, 2 or 3 of each patch, with as many rows and columns as `unit` asks.
    """
    masks = []
    for number, level in enumerate(levels(resolutions)):
        on = routing > section(number, resolutions)
        if level.stride > PATCH:  # one vector for several patches, always on
            every = level.stride // PATCH
            masks.append(on[::every, ::every])
        else:
            each = PATCH // level.stride
            masks.append(np.repeat(np.repeat(on, each, axis=0), each, axis=1))
    return masks


DEBLOCKING_TAPS = 4
"""Pixels on either side of a block edge that deblocking looks at and changes."""

CELL = 4
"""Side in pixels of the cells that the refinement filter works on."""


def block_edges(resolutions: int) -> tuple[tuple[int, int], ...]:
    """Where blocks meet, coarse to fine: kinds of edges as (period, first), in pixels.

    An edge lies before the pixels first, first + period, ... of a row or column: those where blocks
    of the coarsest level meet, then those between that only the finer levels have.
    """
    stride = levels(resolutions)[0].stride
    between = [(2 * stride >> n, stride >> n) for n in range(1, resolutions)]
    return ((stride, stride), *between)


def typical_std(order: tuple[Band, ...], stride: int) -> NDArray[np.float64]:
    """Rough standard deviation of each band for photographs in [0, 1], shape (bands,).

    Amplitudes of natural images fall as one over the frequency (Field, 1987). Training starts from
    it.
    """
    colour = np.array([1.0, 0.25, 0.12])
    return np.array(
        [
            0.45 * (stride / 8) * colour[b.colour] / (0.16 + (b.v**2 + b.h**2) / 2) ** 0.62
            for b in order
        ]
    )
