"""The context model at run time, in integers: which coding table fits each symbol.

It predicts the distribution of the next symbols from all symbols so far, from the low level to the
high one. Within a level it goes through groups of channels (channel-wise autoregression; Minnen and
Singh, 2020), and within a group first through the anchors, every other position of a checkerboard,
then through the non-anchors, which see their neighbours (checkerboard context; He et al., 2021). As
in joint autoregressive priors (Minnen et al., 2018) a network sums up what is known; as in a
hyperprior (Balle et al., 2018) a coarser level describes the finer ones, but it is itself part of
the picture.

Encoder and decoder must get the same tables on any machine, so nothing here is approximate
(integer networks; Balle, Johnston and Minnen, 2019). Weights are int8, activations lie in
0 ... 127, and every sum of products stays below 2**24 in magnitude (9 * 96 * 127 * 127 =
13,935,456 at most).
float32 holds such numbers exactly, so an ordinary matrix product gives the integer result, whatever
the order of its additions, the number of threads or the processor. A state that such a sum is added
to is clipped to 2**22 at once, and what the addition could round is clipped anyway; biases, at most
2**18, need no clip. `training.context_model` is the same network in the form that trains.

Units: state 2**-12, activations 2**-4, update weights 2**-8, head weights 2**-7. What is predicted
is a quarter of the table index.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.entropy import TABLES
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.sites import ALL_TAPS, OTHER_PARITY, SAME_PARITY, Sites

Exact = NDArray[np.float32]
"""Integers below 2**24 in float32."""

STATE_LIMIT = np.float32(2**22)


@dataclass(eq=False)
class CodingStep:
    """Symbols that are coded together, as nothing in them depends on the others.

    Attributes:
        level: index of the level, coarse to fine.
        first: it is the first step of its level.
        rows, columns: (sites,) positions in the level's grid.
        channels: which channels of the level.
        indices: uint8 (sites, channels) coding table of each symbol.
        symbols: int32 (sites, channels), to be set before the next step is asked for.
    """

    level: int
    first: bool
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    channels: slice
    indices: NDArray[np.uint8]
    symbols: NDArray[np.int32] = field(init=False)

    @property
    def where(self) -> tuple[Any, ...]:
        """Index of the symbols in an array (rows, columns, channels) of the level."""
        return self.rows, self.columns, self.channels


class IntegerContextModel:
    """Runs the frozen context model.

    Args:
        architecture: of the model.
        weights: integer arrays by name, as `Architecture.context_arrays` lists them.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        self._levels = architecture.levels
        self._weights = {  # curves are kept as they are: one row of them is used at a time
            spec.name: weights[spec.name]
            if spec.per_quality
            else weights[spec.name].astype(np.float32)
            for spec in architecture.context_arrays()
        }

    def steps(self, quality: int, masks: list[NDArray[np.bool_]]) -> Iterator[CodingStep]:
        """The coding steps of one tile, in order.

        The caller that takes a step sets its `symbols` before asking for the next one: the
        encoder to what it chose, the decoder to what it read.

        Args:
            quality: 0 to 100.
            masks: where each level is on, coarse to fine; one, two or three of them. A level is
                on only where the coarser one is.
        """
        sites = Sites.of(masks[0])
        state = np.tile(self._curve("start", quality), (sites.flat.size, 1))  # (sites, width)
        for level, mask in enumerate(masks):
            if level > 0:
                coarser, sites = sites, Sites.of(mask)
                state = self._refine(level - 1, state, coarser, sites, quality)
            yield from self._level_steps(level, state, sites, quality)

    def _curve(self, name: str, quality: int, phase: int | None = None) -> Exact:
        table = self._weights[name] if phase is None else self._weights[name][phase]
        row: Exact = table[quality].astype(np.float32)
        return row

    def _level_steps(
        self, level: int, state: Exact, sites: Sites, quality: int
    ) -> Iterator[CodingStep]:
        """All steps of one level; what they reveal is added to `state` (sites, width)."""
        start, groups = 0, self._levels[level].groups
        for group, size in enumerate(groups):
            name, channels = f"level{level}_group{group}", slice(start, start + size)
            for phase in (0, 1):
                which = sites.phase(phase)
                step = CodingStep(
                    level,
                    group == 0 and phase == 0,
                    sites.rows[which],
                    sites.columns[which],
                    channels,
                    self._indices(name, phase, state[which], quality),
                )
                yield step
                last = level == len(self._levels) - 1 and group == len(groups) - 1 and phase == 1
                if not last:  # nothing is predicted from the very last symbols
                    self._update(name, phase, state, sites, step.symbols)
            start += size

    def _indices(self, name: str, phase: int, state: Exact, quality: int) -> NDArray[np.uint8]:
        """uint8 (sites, channels) from the state (sites, width): a network of one hidden layer."""
        hidden = _activation(state, 8) @ self._weights[f"{name}_hidden"]  # 2**-4 * 2**-7
        hidden = _activation(hidden + self._curve(f"{name}_hidden_bias", quality, phase), 7)
        index = hidden @ self._weights[f"{name}_index"]  # 2**-11, a quarter of the index
        index += self._curve(f"{name}_index_bias", quality)
        return np.clip(_shift(index, 9), 0, TABLES - 1).astype(np.uint8)  # times 4

    def _update(
        self, name: str, phase: int, state: Exact, sites: Sites, symbols: NDArray[np.int32]
    ) -> None:
        """Add a 3 x 3 convolution of the new symbols' log magnitudes to every site's state.

        Only one half of the checkerboard is not zero, so a site sees it through five of the nine
        taps or through the four others: half of the multiplications are left out. So are the sites
        that see nothing but zeros.
        """
        kernel, channels = self._weights[f"{name}_update"], symbols.shape[1]
        grid, some = np.zeros((sites.size, channels), np.float32), np.zeros(sites.size, bool)
        coded = sites.flat[sites.phase(phase)]
        grid[coded] = LOG_FEATURE[np.minimum(abs(symbols), 4095)]
        some[coded] = symbols.any(axis=1)
        for taps, receiving in ((SAME_PARITY, phase), (OTHER_PARITY, 1 - phase)):
            which = sites.phase(receiving)
            neighbours = sites.neighbours(taps, which)  # (sites, taps)
            seeing = np.flatnonzero(some[neighbours].any(axis=1))
            seen = grid[neighbours[seeing]].reshape(-1, len(taps) * channels)
            change = seen @ _taps(kernel, taps)
            _add(state, seeing + (which.start or 0), change)

    def _refine(
        self, level: int, state: Exact, coarser: Sites, finer: Sites, quality: int
    ) -> Exact:
        """State of the next level: mix with the neighbours, then one vector for each child."""
        width = state.shape[1]
        grid = np.zeros((coarser.size, width), np.float32)
        grid[coarser.flat] = _activation(state, 8)
        every = slice(None)
        seen = grid[coarser.neighbours(ALL_TAPS, every)].reshape(-1, len(ALL_TAPS) * width)
        _add(state, every, seen @ _taps(self._weights[f"level{level}_mix"], ALL_TAPS))
        state += self._curve(f"level{level}_mix_bias", quality)
        wide = _activation(state, 8) @ self._weights[f"level{level}_up"]  # (sites, 4 * width)
        wide += self._curve(f"level{level}_up_bias", quality)
        children = np.zeros((coarser.size, 2, 2, width), np.float32)
        children[coarser.flat] = wide.reshape(-1, 2, 2, width)
        parent = (finer.rows // 2 + 1) * coarser.width + finer.columns // 2 + 1
        refined: Exact = children[parent, finer.rows % 2, finer.columns % 2]
        return refined  # (finer sites, width)


def place(steps: Iterable[CodingStep], levels: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays of all levels, coarse to fine, with the symbols of coding steps put into them."""
    for step in steps:
        levels[step.level][step.where] = step.symbols
    return levels


def _shift(x: Exact, bits: int) -> Exact:
    """Division by 2**bits, rounded half up."""
    shifted: Exact = np.floor(x * np.float32(2.0**-bits) + np.float32(0.5))
    return shifted


def _activation(x: Exact, bits: int) -> Exact:
    return np.clip(_shift(x, bits), 0, 127)


def _add(state: Exact, which: slice | NDArray[np.int64], change: Exact) -> None:
    state[which] = np.clip(state[which] + change, -STATE_LIMIT, STATE_LIMIT)


def _taps(kernel: Exact, taps: tuple[tuple[int, int], ...]) -> Exact:
    """(3, 3, in, out) kernel to the (taps * in, out) matrix of some of its taps."""
    chosen = kernel[[row for row, _ in taps], [column for _, column in taps]]
    return chosen.reshape(-1, kernel.shape[-1])


LOG_FEATURE: Exact = np.minimum(np.floor(16 * np.log1p(np.arange(4096)) + 0.5), 127).astype(
    np.float32
)
"""What the context model sees of a symbol: min(127, round(16 log(1 + |symbol|)))."""
