"""Boxes in the grid of patches, and the cutting of a picture into tiles.

Tiles are coded independently of each other. Transforms look over their borders, so that no seam
shows: a tile is computed with a halo of a few patches, which is then cropped away.
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

    def slices(self, scale: int, halo: int = 0) -> tuple[slice, slice]:
        """Index into a grid with `scale` cells along a patch, and `halo` cells around."""
        return (
            slice(max(self.top * scale - halo, 0), self.bottom * scale + halo),
            slice(max(self.left * scale - halo, 0), self.right * scale + halo),
        )

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index into a picture."""
        return self.slices(PATCH)

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

    Attributes:
        shape: rows and columns of patches.
        whole: the box of all patches.
    """

    def __init__(self, height: int, width: int) -> None:
        self.shape = -(-height // PATCH), -(-width // PATCH)
        self.whole = Box(0, 0, *self.shape)
        self._rows, self._columns = map(_spans, self.shape)

    def __iter__(self) -> Iterator[Box]:
        return _products(self._rows, self._columns)

    def overlapping(self, box: Box) -> list[Box]:
        """The tiles that have patches in common with a box."""
        rows = [span for span in self._rows if span[0] < box.bottom and span[1] > box.top]
        columns = [span for span in self._columns if span[0] < box.right and span[1] > box.left]
        return list(_products(rows, columns))

    def with_halo(self, box: Box, halo: int) -> Box:
        """A box with up to `halo` more patches on all sides, within the picture."""
        wide = Box(box.top - halo, box.left - halo, box.bottom + halo, box.right + halo)
        return wide.intersection(self.whole)


def _spans(length: int) -> list[tuple[int, int]]:
    most = TILE // PATCH
    step = -(-length // -(-length // most))
    return [(first, min(first + step, length)) for first in range(0, length, step)]


def _products(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Iterator[Box]:
    for top, bottom in rows:
        for left, right in columns:
            yield Box(top, left, bottom, right)
