"""The maps of a file: which tiles are stored, the level of each patch, where filters are off.

All are coded with adaptive counts, kept apart by the values of the left and the upper neighbour
(context modelling; Rissanen and Langdon, 1981).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.bitstream import LEVELS
from mrdcae_lite.coding.range_coder import Categorical, RangeDecoder, RangeEncoder, finish


class MapModel:
    """Adaptive counts of the values 0 ... `kinds` - 1 given those on the left and above.

    Attributes:
        values: (rows, columns) that were learned.
    """

    def __init__(self, shape: tuple[int, int], kinds: int) -> None:
        self._bordered = np.full((shape[0] + 1, shape[1] + 1), kinds, np.uint8)  # "outside"
        self._counts = np.ones((kinds + 1, kinds + 1, kinds))

    @property
    def values(self) -> NDArray[np.uint8]:
        return self._bordered[1:, 1:]

    def at(self, row: int, column: int) -> tuple[NDArray[np.float64], object]:
        """Counts that apply at a place, and the coder's model of them."""
        around = self._bordered[row + 1, column], self._bordered[row, column + 1]
        counts = self._counts[around]
        return counts, Categorical(counts / counts.sum(), perfect=False)

    def learn(self, row: int, column: int, counts: NDArray[np.float64], value: int) -> None:
        """Remember the value at a place."""
        self._bordered[row + 1, column + 1] = value
        counts[value] += 1


@dataclass(frozen=True, eq=False)
class Maps:
    """What a file says of its tiles and patches.

    Attributes:
        routing: uint8 (rows, columns), the level 1, 2 or 3 of each patch.
        unfiltered: bool (rows, columns), patches in which the decoder's filters are off.
        stored: bool (rows, columns) of tiles that are stored without loss.
    """

    routing: NDArray[np.uint8]
    unfiltered: NDArray[np.bool_]
    stored: NDArray[np.bool_]


def write_maps(maps: Maps) -> bytes:
    """Code the maps; those of stored tiles and of filters only if anything is set in them."""
    coder = RangeEncoder()
    if maps.stored.any():
        _write(coder, maps.stored.astype(np.uint8), 2)
    _write(coder, maps.routing - np.uint8(1), LEVELS)
    if maps.unfiltered.any():
        _write(coder, maps.unfiltered.astype(np.uint8), 2)
    return finish(coder)


def read_maps(
    stream: bytes, patches: tuple[int, int], tiles: tuple[int, int], *, stored: bool, filters: bool
) -> Maps:
    """Inverse of `write_maps`.

    Args:
        stream: the bytes.
        patches, tiles: rows and columns of them.
        stored: whether there is a map of stored tiles.
        filters: whether there is a map of filters.
    """
    coder = RangeDecoder(stream, "maps section")
    of_tiles = _read(coder, tiles, 2) if stored else np.zeros(tiles, np.uint8)
    routing = _read(coder, patches, LEVELS) + np.uint8(1)
    off = _read(coder, patches, 2) if filters else np.zeros(patches, np.uint8)
    return Maps(routing, off.astype(bool), of_tiles.astype(bool))


def _write(coder: Any, values: NDArray[np.uint8], kinds: int) -> None:
    model = MapModel(values.shape, kinds)
    for row, column in np.ndindex(values.shape):
        counts, categorical = model.at(row, column)
        coder.encode(int(values[row, column]), categorical)
        model.learn(row, column, counts, int(values[row, column]))


def _read(coder: RangeDecoder, shape: tuple[int, int], kinds: int) -> NDArray[np.uint8]:
    model = MapModel(shape, kinds)
    for row, column in np.ndindex(shape):
        counts, categorical = model.at(row, column)
        model.learn(row, column, counts, int(coder.decode(categorical, 1)[0]))
    return model.values
