"""Sites: the cells of a grid where something is computed, gathered into a list.

The cells of a grid form a checkerboard of anchors, where row + column is even, and non-anchors (He
et al., 2021); within a tile anchors are coded first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAME_PARITY = ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2))
"""Taps of a 3 x 3 kernel that fall on the half of a checkerboard to which its centre belongs."""

OTHER_PARITY = ((0, 1), (1, 0), (1, 2), (2, 1))
"""Taps that fall on the other half."""

ALL_TAPS = tuple((row, column) for row in range(3) for column in range(3))
"""Taps of a 3 x 3 kernel in raster order."""


class Sites(NamedTuple):
    """The positions of one level that are coded: all anchors first, then all non-anchors.

    Attributes:
        rows, columns: (sites,) position in the grid.
        anchors: how many of them are anchors, where row + column is even.
        flat: (sites,) position in the flattened grid with a border of one.
        width: columns of the bordered grid.
        size: cells of the bordered grid.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    anchors: int
    flat: NDArray[np.int64]
    width: int
    size: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Sites":
        """Sites where `mask` (rows, columns) is true."""
        rows, columns = np.nonzero(mask)
        parity = (rows + columns) % 2
        order = np.argsort(parity, kind="stable")
        rows, columns = rows[order], columns[order]
        width = mask.shape[1] + 2
        flat = (rows + 1) * width + columns + 1
        anchors = int((parity == 0).sum())
        return cls(rows, columns, anchors, flat, width, (mask.shape[0] + 2) * width)

    def phase(self, number: int) -> slice:
        """The anchors (0) or the non-anchors (1)."""
        return slice(0, self.anchors) if number == 0 else slice(self.anchors, None)

    def neighbours(self, taps: tuple[tuple[int, int], ...], which: slice) -> NDArray[np.int64]:
        """(sites, taps) positions in the bordered grid that a kernel's taps look at."""
        offsets = np.array([(row - 1) * self.width + column - 1 for row, column in taps])
        positions: NDArray[np.int64] = self.flat[which, None] + offsets
        return positions
