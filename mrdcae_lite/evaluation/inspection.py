"""What happens inside a codec, for those who study it: bits and gains by position, work."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.bitstream import LEVELS
from mrdcae_lite.coding.maps import MapModel
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.pyramid import always_on, level_masks
from mrdcae_lite.core.quality import check_quality
from mrdcae_lite.runtime.decoder import Decoder
from mrdcae_lite.runtime.frozen import FrozenModel


def information(model: FrozenModel, data: bytes) -> list[NDArray[np.float32]]:
    """Information content of the symbols in a `.mrdc` file of a model, summed over the channels.

    Returns float32 (rows, columns) of each level's grid, coarse to fine: -log2 of the probability
    of the symbols, in bits. The file adds its header, the routing map and the ends of its streams.
    """
    decoder = Decoder(model, data)
    levels = model.architecture.levels
    bits = [np.zeros(mask.shape, np.float32) for mask in level_masks(decoder.routing, len(levels))]
    for tile in decoder.tiling:
        for step in decoder.coding_steps(tile):
            spent = bits[step.level][tile.on_grid(levels[step.level].stride).slices]
            spent[step.rows, step.columns] += model.tables.cost(step.symbols, step.indices).sum(1)
    return bits


def contrast_gains(
    model: FrozenModel, symbols: Sequence[NDArray[np.int16]], quality: int
) -> list[NDArray[np.float32]]:
    """Factors of the latents of each level before rounding (`pyramid.contrast_gain`).

    `symbols` are those of all levels, as `Codec.read_symbols` returns them; quality is 0 to 100.
    Returns one for levels that are always on, (rows, columns, 1) of the grid of each other.
    """
    gains: list[NDArray[np.float32]] = []
    decoded: list[NDArray[np.float32]] = []
    for number, level in enumerate(symbols):
        gains.append(model.transforms.contrast_gain(decoded, quality))
        latents = level.astype(np.float32)
        decoded.append(model.transforms.dequantise(latents, number, gains[-1], quality))
    return gains


def distortion_weights(model: FrozenModel, quality: int) -> list[NDArray[np.float32]]:
    """Squared error in the picture that an error of one in a symbol of each channel causes.

    Returns float32 (channels,) of each level, coarse to fine, in squared quantisation steps, at a
    quality of 0 to 100, for positions where `contrast_gains` is one; elsewhere divide by the square
    of the gain.
    """
    return model.transforms.distortion_weights(check_quality(quality))


def routing_information(routing: NDArray[np.uint8]) -> float:
    """Information content in bits of a routing map (rows, columns), as a file codes it."""
    bits, model = 0.0, MapModel(routing.shape, LEVELS)
    for row, column in np.ndindex(routing.shape):
        counts, _ = model.at(row, column)
        value = int(routing[row, column]) - 1
        bits -= math.log2(counts[value] / counts.sum())
        model.learn(row, column, counts, value)
    return bits


def multiplications(architecture: Architecture) -> float:
    """Multiply-accumulates a pixel to decode all levels where all are on.

    Where a level is off, and at the borders of a picture, some are left out.
    """
    arrays = [*architecture.transform_arrays(), *architecture.context_arrays()]
    total = sum(spec.uses * math.prod(spec.shape) for spec in arrays)
    levels = architecture.levels
    for finer in range(
        always_on(len(levels)), len(levels)
    ):  # contrast gains synthesise all coarser levels
        total += sum((192 / level.stride) ** 2 for level in levels[:finer])
    return total
