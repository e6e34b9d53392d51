"""The filters of the decoder at run time: they correct what quantisation did to the picture.

Both see differences of pixels in quarters of a quantisation step, on a log scale, so that one
network serves every quality, and both work on a few rows at a time, which stay in the cache.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.patches import depth_to_space, space_to_depth

Grid = NDArray[np.float32]

_ROWS = 4
"""Rows of cells that are refined at a time."""


class Deblocking:
    """Corrects the pixels at one kind of block edges (a learned filter; after List et al., 2003).

    Every position along an edge sees four pixels on either side, and those of its two neighbours,
    as their differences from the edge's mean.

    Args:
        period, first: which edges, as `pyramid.block_edges` gives them.
        arrays: of the filter at this quality.
        step: the quantisation step, for images in [0, 1].
    """

    def __init__(
        self, period: int, first: int, arrays: Mapping[str, Grid], step: np.float32
    ) -> None:
        self._period, self._first, self._scale = period, first, 4 / step
        self._enter = arrays["enter/kernel"].reshape(18 * pyramid.DEBLOCKING_TAPS, -1)
        self._enter_bias = arrays["enter/bias"] + arrays["film"]
        self._mix, self._mix_bias = arrays["mix/kernel"], arrays["mix/bias"]
        self._leave, self._leave_bias = arrays["leave/kernel"] * step, arrays["leave/bias"] * step

    def __call__(self, image: Grid) -> None:
        """Change an image (height, width, 3) in place."""
        for view in (image, image.swapaxes(0, 1)):  # edges between rows, then between columns
            self._correct_rows(view)

    def _correct_rows(self, image: Grid) -> None:
        taps = pyramid.DEBLOCKING_TAPS
        width = image.shape[1]
        around = np.zeros((width, 3, 6 * taps), np.float32)  # the column before, this, the next
        for row in range(self._first, len(image), self._period):
            near = image[row - taps : row + taps].swapaxes(0, 1)  # (width, 8, 3), a view
            middle = (near[:, taps - 1] + near[:, taps])[:, None] * np.float32(0.5)
            x = _log_compress((near - middle).reshape(width, -1), self._scale)
            around[1:, 0], around[:, 1], around[:-1, 2] = x[:-1], x, x[1:]
            hidden = around.reshape(width, -1) @ self._enter
            hidden += self._enter_bias
            hidden = np.maximum(hidden, 0, out=hidden) @ self._mix
            hidden += self._mix_bias
            change = np.maximum(hidden, 0, out=hidden) @ self._leave + self._leave_bias
            near += change.reshape(near.shape)  # changes the image


class Refinement:
    """Corrects every pixel (a learned restoration filter in the decoder; Zhang et al., 2018).

    The image is cut into cells of 4 x 4 pixels. A cell shows its pixels as differences from its
    mean, and the means of the four cells beside it; a 3 x 3 convolution over cells looks around.

    Args:
        arrays: of the filter at this quality.
        step: the quantisation step, for images in [0, 1].
    """

    def __init__(self, arrays: Mapping[str, Grid], step: np.float32) -> None:
        scale, shift = np.split(arrays["film"], 2)
        self._scale = 4 / step
        self._enter = arrays["enter/kernel"] * (1 + scale)
        self._place = arrays["place"] + shift  # (period, period, width)
        self._mix = arrays["mix/kernel"].reshape(9 * len(scale), -1)
        self._mix_bias = arrays["mix/bias"]
        self._leave, self._leave_bias = arrays["leave/kernel"] * step, arrays["leave/bias"] * step

    def __call__(self, image: Grid) -> None:
        """Change an image (height, width, 3) in place; sides are multiples of a cell."""
        cell, width = pyramid.CELL, self._mix.shape[1]
        rows, columns = image.shape[0] // cell, image.shape[1] // cell
        means = image.reshape(rows, cell, columns, cell, 3).mean(axis=(1, 3))
        means = np.pad(means, ((1, 1), (1, 1), (0, 0)), mode="edge")
        hidden = np.zeros((rows + 2, columns + 2, width), np.float32)
        for first in range(0, rows, _ROWS):
            last = min(first + _ROWS, rows)
            pixels = space_to_depth(image[first * cell : last * cell], cell)
            hidden[first + 1 : last + 1, 1:-1] = self._hidden(pixels, means[first : last + 2])
            place = self._place[np.arange(first, last) % len(self._place)]
            hidden[first + 1 : last + 1, 1:-1] += place[:, np.arange(columns) % len(self._place)]
        np.maximum(hidden, 0, out=hidden)
        hidden[:, [0, -1]] = hidden[[0, -1]] = 0
        three = np.lib.stride_tricks.sliding_window_view(
            hidden.reshape(rows + 2, -1), 3 * width, axis=1
        )[:, ::width]  # (rows + 2, columns, 3 * width): cells beside one another as one vector
        for first in range(0, rows, _ROWS):
            last = min(first + _ROWS, rows)
            around = np.stack([three[first + v : last + v] for v in range(3)], axis=2)
            mixed = around.reshape(-1, 9 * width) @ self._mix
            mixed += self._mix_bias
            change = np.maximum(mixed, 0, out=mixed) @ self._leave
            change += self._leave_bias
            change = depth_to_space(change.reshape(last - first, columns, -1), cell)
            image[first * cell : last * cell] += change

    def _hidden(self, pixels: Grid, means: Grid) -> Grid:
        """First layer of some rows of cells (rows, columns, 48); `means` has a border of one."""
        rows, columns, values = pixels.shape
        own = means[1:-1, 1:-1]
        x = np.empty((rows, columns, values + 12), np.float32)
        colours = x[..., :values].reshape(rows, columns, -1, 3, copy=False)
        np.subtract(pixels.reshape(colours.shape), own[:, :, None], out=colours)
        beside = means[:-2, 1:-1], means[2:, 1:-1], means[1:-1, :-2], means[1:-1, 2:]
        for number, other in enumerate(beside):
            first = values + 3 * number
            np.subtract(other, own, out=x[..., first : first + 3])
        hidden: Grid = _log_compress(x, self._scale) @ self._enter
        return hidden


def _log_compress(x: Grid, scale: np.float32) -> Grid:
    """sign(x) log(1 + scale |x|)."""
    size = abs(x)
    size *= scale
    size += 1
    compressed: Grid = np.copysign(np.log(size, out=size), x, out=size)
    return compressed
