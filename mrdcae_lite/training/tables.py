"""Coding tables fitted to the symbols that a trained model really produces."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding import entropy
from mrdcae_lite.coding.entropy import BEYOND, TABLES
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.rate_distortion import rdoq_lambda
from mrdcae_lite.core.tiling import Tiling
from mrdcae_lite.runtime.encoder import analyse, coding_steps, route
from mrdcae_lite.runtime.frozen import FrozenModel

PSEUDO_COUNT = 200  # observations that the Laplace formula counts as, beside those made


def with_fitted_tables(
    codec: Codec, images: Sequence[RGB], *, qualities: Sequence[int] = (5, 30, 55, 80)
) -> Codec:
    """The same networks with coding tables fitted to the symbols of some photographs.

    Args:
        codec: whose encoder chooses the symbols.
        images: uint8 (height, width, 3) each, not of a test set.
        qualities: each image is encoded at each of them.
    """
    histograms = np.zeros((TABLES, 2 * BEYOND + 1), np.int64)
    for image in images:
        tiling = Tiling(image.shape[0], image.shape[1], codec.architecture.unit)
        for quality, tile in product(qualities, tiling):
            latents = analyse(codec.model, image, quality, tile)
            latents = replace(latents, routing=route(codec.model, latents, quality))
            for step in coding_steps(codec.model, latents, quality, rdoq_lambda(quality)):
                histograms += count_symbols(step.symbols, step.indices)
    old, tables = codec.model, fit_tables(histograms)
    return Codec(FrozenModel(old.architecture, old.transform_weights, old.context_weights, tables))


def count_symbols(symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(64, 2049) times that each table meets each symbol; both arrays have the same shape.

    Symbol 0 is in the middle column, all symbols beyond every support are in the outer ones.
    """
    columns = 2 * BEYOND + 1
    cells = indices.astype(np.int64) * columns + np.clip(symbols, -BEYOND, BEYOND) + BEYOND
    return np.bincount(cells.ravel(), minlength=TABLES * columns).reshape(TABLES, columns)


def fit_tables(histograms: NDArray[np.int64]) -> entropy.Tables:
    """Tables that follow observed symbols where there are many, the Laplace formula elsewhere.

    `histograms` are sums of `count_symbols`. Both signs are counted together, as the distributions
    are symmetrical.
    """
    tables = []
    for index in range(TABLES):
        seen, last = histograms[index] + histograms[index][::-1], entropy.support(index)
        inside = seen[BEYOND - last : BEYOND + last + 1]
        observed = np.append(inside, seen.sum() - inside.sum()) / 2
        laplace = PSEUDO_COUNT * entropy.laplace_probabilities(index)
        tables.append(entropy.integer_counts(observed + laplace))
    return entropy.Tables(tuple(tables))
