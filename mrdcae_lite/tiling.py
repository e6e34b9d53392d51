"""Places in the grid of patches, and the cutting of a picture into tiles.

Tiles are coded independently of each other. Transforms look over their borders, so that no seam
shows: whoever computes a tile takes a few patches more around it and throws the rim away.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mrdcae_lite.pyramid import PATCH

TILE = 1024
"""Largest side of a tile in pixels."""


class Place(NamedTuple):
    """A rectangle of patches: first row and column, and the row and column after the last."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.bottom - self.top, self.right - self.left

    def cells(self, scale: float, margin: int = 0) -> tuple[slice, slice]:
        """Index into a grid with `scale` cells along a patch, with `margin` more cells around."""
        top, left, bottom, right = (int(side * scale) for side in self)
        return (
            slice(max(top - margin, 0), bottom + margin),
            slice(max(left - margin, 0), right + margin),
        )

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index into a picture."""
        return self.cells(PATCH)

    def within(self, other: "Place") -> "Place":
        """The same place counted from the first row and column of `other`."""
        return Place(
            self.top - other.top,
            self.left - other.left,
            self.bottom - other.top,
            self.right - other.left,
        )

    def common(self, other: "Place") -> "Place":
        """What lies in both of two places that touch."""
        return Place(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


class Tiling:
    """How a picture is cut: into as few tiles as `TILE` allows, about equal in size.

    Iterating gives the places of all tiles in raster order.

    Args:
        height, width: of the picture in pixels.
        unit: patches along the side of what must not be parted; the picture is taken to be as many
            of them as cover it.
    """

    def __init__(self, height: int, width: int, unit: int = 1) -> None:
        rows, columns = (-(-side // (PATCH * unit)) * unit for side in (height, width))
        self.shape, self._unit = (rows, columns), unit
        self.everything = Place(0, 0, *self.shape)
        self._rows, self._columns = (_spans(side, unit) for side in self.shape)

    def __iter__(self) -> Iterator[Place]:
        return _products(self._rows, self._columns)

    def touching(self, place: Place) -> list[Place]:
        """The tiles that have patches in common with a place."""
        rows = [span for span in self._rows if span[0] < place.bottom and span[1] > place.top]
        columns = [span for span in self._columns if span[0] < place.right and span[1] > place.left]
        return list(_products(rows, columns))

    def grown(self, place: Place, reach: int) -> Place:
        """A place with up to `reach` more patches on all sides, within the picture."""
        reach = -(-reach // self._unit) * self._unit
        return Place(
            max(place.top - reach, 0),
            max(place.left - reach, 0),
            min(place.bottom + reach, self.shape[0]),
            min(place.right + reach, self.shape[1]),
        )


def _spans(length: int, unit: int) -> list[tuple[int, int]]:
    most = TILE // PATCH
    step = -(-length // -(-length // most))
    step = -(-step // unit) * unit
    return [(first, min(first + step, length)) for first in range(0, length, step)]


def _products(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> Iterator[Place]:
    for top, bottom in rows:
        for left, right in columns:
            yield Place(top, left, bottom, right)
