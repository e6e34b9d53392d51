"""The filters of the decoder at run time: they correct what quantisation did to the picture.

Both see differences of pixels in quarters of a quantisation step, on a log scale, so that one
network serves every quality. They work on planes, float32 (3, height, width), and on a few rows of
them at a time, which stay in the processor's cache: what they multiply are matrices whose columns
are positions.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core import pyramid

Planes = NDArray[np.float32]
Matrix = NDArray[np.float32]

_COLUMNS = 512
"""About how many columns the matrices of the refinement have."""


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
        self, period: int, first: int, arrays: Mapping[str, Matrix], step: np.float32
    ) -> None:
        self._period, self._first, self._scale = period, first, 4 / step
        enter, leave = arrays["enter/kernel"], arrays["leave/kernel"] * step
        sides, width = 2 * pyramid.DEBLOCKING_TAPS, enter.shape[-1]
        enter = enter.reshape(3, sides, 3, width).transpose(3, 0, 2, 1)  # colour before side
        self._enter = enter.reshape(width, -1)
        self._enter_bias = (arrays["enter/bias"] + arrays["film"])[:, None]
        self._mix, self._mix_bias = arrays["mix/kernel"].T, arrays["mix/bias"][:, None]
        self._leave = leave.reshape(width, sides, 3).transpose(2, 1, 0).reshape(-1, width)
        bias = (arrays["leave/bias"] * step).reshape(sides, 3)
        self._leave_bias = bias.T.reshape(-1, 1)

    def __call__(self, planes: Planes) -> None:
        """Change a picture in place."""
        for view in (planes, planes.swapaxes(1, 2)):  # edges between rows, then between columns
            taps, (height, length) = pyramid.DEBLOCKING_TAPS, view.shape[1:]
            around = np.zeros((3, 6 * taps, length), np.float32)  # before, here, after
            # NumPy's maximum with an array is three times as fast as with a number.
            zeros = np.zeros((len(self._mix), length), np.float32)
            for row in range(self._first, height, self._period):
                self._correct(view[:, row - taps : row + taps], around, zeros)

    def _correct(self, near: Planes, around: Planes, zeros: Matrix) -> None:
        """Change the pixels at one edge, a view (3, 8, length)."""
        taps, length = pyramid.DEBLOCKING_TAPS, near.shape[2]
        middle = (near[:, taps - 1] + near[:, taps]) * np.float32(0.5)
        x = np.subtract(near, middle[:, None], order="C").reshape(-1, length)
        _log_compress(x, self._scale)
        around[0, :, 1:], around[1], around[2, :, :-1] = x[:, :-1], x, x[:, 1:]
        hidden = self._enter @ around.reshape(-1, length)
        hidden += self._enter_bias
        hidden = self._mix @ np.maximum(hidden, zeros, out=hidden)
        hidden += self._mix_bias
        change = self._leave @ np.maximum(hidden, zeros, out=hidden)
        change += self._leave_bias
        near += change.reshape(near.shape)


class Refinement:
    """Corrects every pixel (a learned restoration filter in the decoder; Zhang et al., 2018).

    The image is cut into cells of 4 x 4 pixels. A cell shows its pixels as differences from its
    mean, and the means of the four cells beside it; a 3 x 3 convolution over cells looks around.

    Args:
        arrays: of the filter at this quality.
        step: the quantisation step, for images in [0, 1].
    """

    def __init__(self, arrays: Mapping[str, Matrix], step: np.float32) -> None:
        scale, shift = np.split(arrays["film"], 2)
        cell, width = pyramid.CELL, len(scale)
        self._scale, own = 4 / step, 3 * cell**2
        enter, leave = arrays["enter/kernel"] * (1 + scale), arrays["leave/kernel"] * step
        pixels = enter[:own].reshape(cell, cell, 3, width).transpose(3, 2, 0, 1)  # colour first
        self._enter = np.concatenate([pixels.reshape(width, own), enter[own:].T], axis=1)
        self._place = (arrays["place"] + shift).transpose(2, 0, 1)  # (width, period, period)
        mix = arrays["mix/kernel"].transpose(1, 3, 0, 2)  # (3 columns, out, 3 rows, in)
        self._mix = mix.reshape(3, width, 3 * width)
        self._mix_bias = arrays["mix/bias"][:, None]
        leave = leave.reshape(width, cell, cell, 3).transpose(3, 1, 2, 0)
        self._leave = leave.reshape(own, width)
        bias = (arrays["leave/bias"] * step).reshape(cell, cell, 3)
        self._leave_bias = bias.transpose(2, 0, 1).reshape(own, 1)

    def __call__(self, planes: Planes) -> None:
        """Change a picture in place; sides are multiples of a cell."""
        cell, width = pyramid.CELL, self._mix.shape[1]
        rows, columns = (side // cell for side in planes.shape[1:])
        cells = planes.reshape(3, rows, cell, columns, cell)
        sums = np.add.reduce([planes[:, :, n::cell] for n in range(cell)])
        means = sums.reshape(3, rows, cell, columns).sum(axis=2) / cell**2
        means = np.pad(means, ((0, 0), (1, 1), (1, 1)), mode="edge")
        hidden = np.zeros((width, rows + 2, columns + 2), np.float32)
        period = self._place.shape[1]
        place = self._place[:, :, np.arange(columns) % period]
        strip = max(1, _COLUMNS // columns)
        strips = [slice(first, min(first + strip, rows)) for first in range(0, rows, strip)]
        for part in strips:
            seen = self._seen(cells[:, part], means[:, part.start : part.stop + 2])
            inner = (self._enter @ seen).reshape(width, -1, columns)
            inner += place[:, np.arange(part.start, part.stop) % period]
            np.maximum(inner, 0, out=hidden[:, part.start + 1 : part.stop + 1, 1:-1])
        for part in strips:
            change = self._leave @ self._mixed(hidden[:, part.start : part.stop + 2])
            change += self._leave_bias
            change = change.reshape(3, cell, cell, -1, columns + 2)[..., :-2]
            cells[:, part] += change.transpose(0, 3, 1, 4, 2)

    def _mixed(self, hidden: Planes) -> Matrix:
        """The 3 x 3 convolution of some rows of cells, (width, rows * (columns + 2)).

        `hidden` (width, rows + 2, columns + 2) has a border of one. Rows follow one another in the
        matrix, so a shift by a column is a view of it; what runs over the end of a row is in the
        last two columns, which mean nothing.
        """
        width, rows, columns = hidden.shape
        count = (rows - 2) * columns
        tall = np.empty((3 * width, count + 2), np.float32)
        tall[:, count:] = 0
        three = tall[:, :count].reshape(3, width, rows - 2, columns)  # a view
        for v in range(3):
            three[v] = hidden[:, v : v + rows - 2]
        mixed: Matrix = self._mix[0] @ tall[:, :count]
        for shift in (1, 2):
            mixed += self._mix[shift] @ tall[:, shift : shift + count]
        mixed += self._mix_bias
        np.maximum(mixed, 0, out=mixed)
        return mixed

    def _seen(self, cells: Planes, means: Planes) -> Matrix:
        """What some rows of cells (3, rows, 4, columns, 4) show, (60, rows * columns).

        `means` (3, rows + 2, columns + 2) has a border of one.
        """
        own, values = means[:, 1:-1, 1:-1], 3 * pyramid.CELL**2
        x = np.empty((values + 12, *own.shape[1:]), np.float32)
        pixels = x[:values].reshape(3, pyramid.CELL, pyramid.CELL, *own.shape[1:])
        np.subtract(cells.transpose(0, 2, 4, 1, 3), own[:, None, None], out=pixels)
        beside = means[:, :-2, 1:-1], means[:, 2:, 1:-1], means[:, 1:-1, :-2], means[:, 1:-1, 2:]
        for number, other in enumerate(beside):
            first = values + 3 * number
            np.subtract(other, own, out=x[first : first + 3])
        _log_compress(x, self._scale)
        return x.reshape(len(x), -1)


def _log_compress(x: Planes, scale: np.float32) -> None:
    """Make sign(x) log(1 + scale |x|) of x, in place."""
    size = abs(x)
    size *= scale
    np.copysign(np.log1p(size, out=size), x, out=x)
