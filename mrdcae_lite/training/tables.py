"""Coding tables fitted to the symbols that a trained model really produces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding.entropy import (
    BEYOND,
    TABLES,
    Tables,
    integer_counts,
    laplace_probabilities,
    support,
)
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.tiling import Tiling
from mrdcae_lite.runtime.encoder import analyse, coding_steps
from mrdcae_lite.runtime.frozen import FrozenModel

PSEUDO_COUNT = 200
"""Observations that the Laplace formula counts as, beside those that were made."""


def with_fitted_tables(
    codec: Codec, images: Sequence[RGB], *, qualities: Sequence[int] = (5, 30, 55, 80)
) -> Codec:
    """The same networks with coding tables fitted to the symbols of some photographs.

    Args:
        codec: whose encoder chooses the symbols.
        images: uint8 (height, width, 3) each, not of a test set.
        qualities: each image is encoded at each of them.
    """
    counter = SymbolCounter()
    for image in images:
        tiling = Tiling(*image.shape[:2])
        for quality in qualities:
            latents = analyse(codec.model, image, quality, tiling.whole)
            for tile in tiling:
                for step in coding_steps(codec.model, latents.crop(tile), quality):
                    counter.add(step.symbols, step.indices)
    old, tables = codec.model, fit_tables(counter.histograms)
    return Codec(FrozenModel(old.architecture, old.transform_weights, old.context_weights, tables))


def fit_tables(histograms: NDArray[np.int64]) -> Tables:
    """Tables that follow observed symbols where there are many, the Laplace formula elsewhere.

    Args:
        histograms: (64, 2049) times that each table met each symbol, centre at symbol 0, the
            ends for all symbols beyond every support. Both signs are counted together, as the
            distributions are symmetrical.
    """
    tables = []
    for index in range(TABLES):
        seen, last = histograms[index] + histograms[index][::-1], support(index)
        inside = seen[BEYOND - last : BEYOND + last + 1]
        observed = np.append(inside, seen.sum() - inside.sum()) / 2
        tables.append(integer_counts(observed + PSEUDO_COUNT * laplace_probabilities(index)))
    return Tables(tuple(tables))


class SymbolCounter:
    """Counts how often each table meets each symbol, for `fit_tables`."""

    def __init__(self) -> None:
        self.histograms = np.zeros((TABLES, 2 * BEYOND + 1), np.int64)

    def add(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> None:
        """Count symbols. Both arrays have the same shape."""
        column = np.clip(symbols, -BEYOND, BEYOND) + BEYOND
        cell = indices.astype(np.int64) * self.histograms.shape[1] + column
        counted = np.bincount(cell.ravel(), minlength=self.histograms.size)
        self.histograms += counted.reshape(self.histograms.shape)
