"""The context model at run time: an index machine made of integers.

It answers one question, many times: which of the 64 coding tables fits the next symbols, given
all symbols so far? Encoder and decoder ask it in the same order and must get the same answer on
any machine, so nothing in it is approximate. Weights are int8, activations lie in 0 ... 127, and
every sum of products stays below 2**24 in magnitude (9 * 96 * 127 * 127 = 13,935,456 at most).
float32 holds such numbers exactly, so an ordinary matrix product gives the integer result, whatever
the order of its additions, the number of threads or the processor. A state that such a sum is added
to is clipped to 2**22 at once, far below where it could be rounded; biases, at most 2**18, need no
clip. `layers.ContextPrior` is the same machine in training form.

Units: state 2**-12, activations 2**-4, update weights 2**-8, head weights 2**-7, index 1/4.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.entropy import TABLES
from mrdcae_lite.pyramid import levels
from mrdcae_lite.quality import QUALITIES

Exact = NDArray[np.float32]
"""Whole numbers below 2**24 in float32."""

STATE_LIMIT = np.float32(2**22)

WIDEST = 96
"""Channels that the state may have: of more, a sum of products could pass 2**24."""

_SAME = ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2))
"""Taps of a 3 x 3 kernel that fall on the colour of its centre in a checkerboard."""

_OTHER = ((0, 1), (1, 0), (1, 2), (2, 1))
"""Taps that fall on the other colour."""

ALL_TAPS = tuple((row, column) for row in range(3) for column in range(3))
"""Taps of a 3 x 3 kernel in raster order."""


class Sites(NamedTuple):
    """The places of one level that are coded: all black fields first, then all white ones.

    Attributes:
        rows, columns: (sites,) position in the grid.
        blacks: how many of them are black.
        flat: (sites,) position in the flattened grid with a border of one.
        width: columns of the bordered grid.
        size: fields of the bordered grid.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    blacks: int
    flat: NDArray[np.int64]
    width: int
    size: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Sites":
        """Sites where `mask` (rows, columns) is true."""
        rows, columns = np.nonzero(mask)
        white = (rows + columns) % 2
        order = np.argsort(white, kind="stable")
        rows, columns = rows[order], columns[order]
        width = mask.shape[1] + 2
        flat = (rows + 1) * width + columns + 1
        return cls(rows, columns, int((white == 0).sum()), flat, width, (mask.shape[0] + 2) * width)

    def colour(self, phase: int) -> slice:
        """The black (0) or the white (1) sites."""
        return slice(0, self.blacks) if phase == 0 else slice(self.blacks, None)

    def neighbours(self, taps: tuple[tuple[int, int], ...], which: slice) -> NDArray[np.int64]:
        """(sites, taps) places in the bordered grid that a kernel's taps look at."""
        offsets = np.array([(row - 1) * self.width + column - 1 for row, column in taps])
        return self.flat[which, None] + offsets


class Request(NamedTuple):
    """What the prior asks for: the symbols at these places, coded with these tables.

    Attributes:
        level: 0 low, 1 medium, 2 high.
        rows, columns: (sites,) places in the level's grid.
        channels: which channels of the level.
        indices: uint8 (sites, channels) table of each symbol.
    """

    level: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    channels: slice
    indices: NDArray[np.uint8]


Answer = Callable[[Request], NDArray[np.int32]]
"""Gives the symbols that a request asks for."""


def shapes(width: int, resolutions: int) -> dict[str, tuple[int, ...]]:
    """Shape of each integer array of a prior, by name; biases are int32, all others int8."""
    found: dict[str, tuple[int, ...]] = {"start": (QUALITIES, width)}
    pyramid = levels(resolutions)
    for number, level in enumerate(pyramid):
        for group, size in enumerate(level.groups):
            name = f"level{number}_group{group}"
            found[f"{name}_update"] = (3, 3, size, width)
            found[f"{name}_hidden"] = (width, width)
            found[f"{name}_hidden_bias"] = (2, QUALITIES, width)
            found[f"{name}_index"] = (width, size)
            found[f"{name}_index_bias"] = (QUALITIES, size)
        if level is not pyramid[-1]:
            found[f"level{number}_mix"] = (3, 3, width, width)
            found[f"level{number}_mix_bias"] = (QUALITIES, width)
            found[f"level{number}_up"] = (width, 4 * width)
            found[f"level{number}_up_bias"] = (QUALITIES, 4 * width)
    return found


class IntegerPrior:
    """Runs the frozen context model.

    Args:
        weights: integer arrays by name, as `layers.ContextPrior.freeze` returns them; bias
            arrays have one row a quality.
        resolutions: levels of the pyramid, 1 to 4.
    """

    def __init__(self, weights: Mapping[str, NDArray], resolutions: int = 3) -> None:
        self._levels = levels(resolutions)
        self._weights = {
            name: array if name.endswith("_bias") or name == "start" else array.astype(np.float32)
            for name, array in weights.items()
        }

    def run(
        self,
        quality: int,
        masks: list[NDArray[np.bool_]],
        answer: Answer,
    ) -> None:
        """Go through the symbols of one tile in coding order.

        Args:
            quality: 0 to 100.
            masks: where each level is on, coarse to fine; one, two or three of them. A level is
                on only where the coarser one is.
            answer: called for every pass; returns the symbols, int32 (sites, channels), which
                the encoder takes from its latents and the decoder from the file.
        """
        sites = Sites.of(masks[0])
        state = np.tile(self._bias("start", quality), (sites.flat.size, 1))
        for level, mask in enumerate(masks):
            if level > 0:
                coarser, sites = sites, Sites.of(mask)
                state = self._refine(level - 1, state, coarser, sites, quality)
            self._level(level, state, sites, quality, answer)

    def _bias(self, name: str, quality: int, phase: int | None = None) -> Exact:
        table = self._weights[name] if phase is None else self._weights[name][phase]
        return table[quality].astype(np.float32)

    def _level(self, level: int, state: Exact, sites: Sites, quality: int, answer: Answer) -> None:
        """All passes over one level; adds what they reveal to `state` (sites, width)."""
        first, groups = 0, self._levels[level].groups
        for group, size in enumerate(groups):
            name = f"level{level}_group{group}"
            last = level == len(self._levels) - 1 and group == len(groups) - 1
            for phase in (0, 1):
                which = sites.colour(phase)
                indices = self._indices(name, phase, state[which], quality)
                places = sites.rows[which], sites.columns[which]
                channels = slice(first, first + size)
                symbols = answer(Request(level, *places, channels, indices))
                if not (last and phase == 1):
                    self._update(name, phase, state, sites, symbols)
            first += size

    def _indices(self, name: str, phase: int, state: Exact, quality: int) -> NDArray[np.uint8]:
        hidden = _activation(state, 8) @ self._weights[f"{name}_hidden"]
        hidden = _activation(hidden + self._bias(f"{name}_hidden_bias", quality, phase), 7)
        index = hidden @ self._weights[f"{name}_index"] + self._bias(f"{name}_index_bias", quality)
        return np.clip(_shift(index, 9), 0, TABLES - 1).astype(np.uint8)

    def _update(
        self, name: str, phase: int, state: Exact, sites: Sites, symbols: NDArray[np.int32]
    ) -> None:
        """Let every site's state know the symbols of its neighbours."""
        kernel = self._weights[f"{name}_update"]
        grid = np.zeros((sites.size, symbols.shape[1]), np.float32)
        grid[sites.flat[sites.colour(phase)]] = LOG_FEATURE[np.minimum(abs(symbols), 4095)]
        for taps, colour in ((_SAME, phase), (_OTHER, 1 - phase)):
            which = sites.colour(colour)
            seen = grid[sites.neighbours(taps, which)].reshape(-1, len(taps) * symbols.shape[1])
            _add(state, which, seen @ _taps(kernel, taps))

    def _refine(
        self, level: int, state: Exact, coarser: Sites, finer: Sites, quality: int
    ) -> Exact:
        """State of the next level: mix with the neighbours, then one vector for each child."""
        grid = np.zeros((coarser.size, state.shape[1]), np.float32)
        grid[coarser.flat] = _activation(state, 8)
        every = slice(None)
        seen = grid[coarser.neighbours(ALL_TAPS, every)].reshape(-1, len(ALL_TAPS) * state.shape[1])
        _add(state, every, seen @ _taps(self._weights[f"level{level}_mix"], ALL_TAPS))
        state += self._bias(f"level{level}_mix_bias", quality)
        wide = _activation(state, 8) @ self._weights[f"level{level}_up"]
        wide += self._bias(f"level{level}_up_bias", quality)
        children = np.zeros((coarser.size, 2, 2, state.shape[1]), np.float32)
        children[coarser.flat] = wide.reshape(-1, 2, 2, state.shape[1])
        parent = (finer.rows // 2 + 1) * coarser.width + finer.columns // 2 + 1
        return children[parent, finer.rows % 2, finer.columns % 2]


def _shift(x: Exact, bits: int) -> Exact:
    """Division by 2**bits, rounded half up."""
    return np.floor(x * np.float32(2.0**-bits) + np.float32(0.5))


def _activation(x: Exact, bits: int) -> Exact:
    return np.clip(_shift(x, bits), 0, 127)


def _add(state: Exact, which: slice, change: Exact) -> None:
    state[which] = np.clip(state[which] + change, -STATE_LIMIT, STATE_LIMIT)


def _taps(kernel: Exact, taps: tuple[tuple[int, int], ...]) -> Exact:
    """(3, 3, in, out) kernel to the (taps * in, out) matrix of some of its taps."""
    chosen = kernel[[row for row, _ in taps], [column for _, column in taps]]
    return chosen.reshape(-1, kernel.shape[-1])


LOG_FEATURE: Exact = np.minimum(np.floor(16 * np.log1p(np.arange(4096)) + 0.5), 127).astype(
    np.float32
)
"""What the machine sees of a magnitude: min(127, round(16 log(1 + |symbol|)))."""
