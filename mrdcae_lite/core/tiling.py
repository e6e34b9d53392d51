"""Boxes in the grid of patches, and the cutting of a picture into tiles.

Tiles are coded independently of each other. Attention and the filters of the decoder look over
their borders, so that no seam shows: they work with a halo, which is then cropped away.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mrdcae_lite.core.pyramid import PATCH

TILE = 1024
"""Largest side of a tile in pixels."""


class Box(NamedTuple):
    """A rectangle: first row and column, and the row and column after the last.

    In patches where nothing else is said.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index into a grid whose cells are what the box counts."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def on_grid(self, stride: int) -> "Box":
        """A box of patches in cells of `stride` pixels a side; 1 gives it in pixels."""
        return Box(*(side * PATCH // stride for side in self))

    def relative_to(self, other: "Box") -> "Box":
        """The same box counted from the first row and column of `other`."""
        return Box(*(mine - start for mine, start in zip(self, other[:2] * 2, strict=True)))

    def intersection(self, other: "Box") -> "Box":
        """What lies in both of two boxes; no row or no column if they do not overlap."""
        return Box(*map(max, self[:2], other[:2]), *map(min, self[2:], other[2:]))


class Tiling:
    """How a picture is cut: into as few tiles as `TILE` allows, about equal in size.

    Iterating gives the boxes of all tiles in raster order.

    Args:
        height, width: of the picture in pixels.
        unit: pixels a side of what must not be cut, a multiple of a patch; the picture is taken to
            be padded to multiples of it.

    Attributes:
        shape: rows and columns of patches.
        tiles: rows and columns of tiles.
        whole: the box of all patches.
    """

    def __init__(self, height: int, width: int, unit: int) -> None:
        self._unit = unit // PATCH
        self.shape = (-(-height // unit) * self._unit, -(-width // unit) * self._unit)
        self.whole = Box(0, 0, *self.shape)
        self._rows, self._columns = (_spans(side, self._unit) for side in self.shape)
        self.tiles = len(self._rows), len(self._columns)

    def __iter__(self) -> Iterator[Box]:
        return _products(self._rows, self._columns)

    def overlapping(self, box: Box) -> list[Box]:
        """The tiles that have patches in common with a box."""
        rows = [span for span in self._rows if span[0] < box.bottom and span[1] > box.top]
        columns = [span for span in self._columns if span[0] < box.right and span[1] > box.left]
        return list(_products(rows, columns))

    def with_halo(self, box: Box, pixels: int) -> Box:
        """A box with at least so many more pixels on all sides, in whole units, in the picture."""
        halo = -(-pixels // (PATCH * self._unit)) * self._unit
        wide = Box(box.top - halo, box.left - halo, box.bottom + halo, box.right + halo)
        return wide.intersection(self.whole)


def _spans(length: int, unit: int) -> list[tuple[int, int]]:
    most = TILE // PATCH
    step = -(-length // -(-length // most))
    step = -(-step // unit) * unit
    return [(first, min(first + step, length)) for first in range(0, length, step)]


def _products(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Iterator[Box]:
    for top, bottom in rows:
        for left, right in columns:
            yield Box(top, left, bottom, right)
