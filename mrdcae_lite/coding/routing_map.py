"""The routing map: the level 1, 2 or 3 of each patch, coded with adaptive counts.

The counts are kept apart by the levels of the left and the upper neighbour (context modelling;
Rissanen and Langdon, 1981).
"""

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.range_coder import Categorical, RangeDecoder, RangeEncoder, finish


class MapModel:
    """Adaptive counts of the levels 1, 2, 3 given the levels of the left and upper neighbour."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.levels = np.zeros((shape[0] + 1, shape[1] + 1), np.uint8)  # border of "outside"
        self._counts = np.ones((4, 4, 3))

    def at(self, row: int, column: int) -> tuple[NDArray[np.float64], object]:
        """Counts that apply at a place, and the coder's model of them."""
        counts = self._counts[self.levels[row + 1, column], self.levels[row, column + 1]]
        return counts, Categorical(counts / counts.sum(), perfect=False)

    def learn(self, row: int, column: int, counts: NDArray[np.float64], level: int) -> None:
        """Remember the level at a place."""
        self.levels[row + 1, column + 1] = level
        counts[level - 1] += 1


def write_routing(routing: NDArray[np.uint8]) -> bytes:
    """Code a map of levels 1, 2, 3 of shape (rows, columns)."""
    coder, model = RangeEncoder(), MapModel(routing.shape)
    for row, column in np.ndindex(routing.shape):
        counts, categorical = model.at(row, column)
        coder.encode(int(routing[row, column]) - 1, categorical)
        model.learn(row, column, counts, int(routing[row, column]))
    return finish(coder)


def read_routing(stream: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Inverse of `write_routing`."""
    coder, model = RangeDecoder(stream, "routing map"), MapModel(shape)
    for row, column in np.ndindex(shape):
        counts, categorical = model.at(row, column)
        model.learn(row, column, counts, int(coder.decode(categorical, 1)[0]) + 1)
    return model.levels[1:, 1:]
