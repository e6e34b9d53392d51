"""Integer coding tables and the range coder.

Life cycle: `laplace_tables` gives 64 tables from a formula; `training.tables` fits them to the
symbols a trained model really produces; the counts travel with the weights, as integers, and
both sides code with them. Nothing here depends on floating-point networks: a symbol's table is
an integer, its probability a ratio of integers.

A table covers the symbols -s ... s, its support, and an escape. A symbol beyond the support is
coded as the escape followed by its sign and its distance, with 17 plain bits (16 would do).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.range_coder import Categorical, RangeDecoder, RangeEncoder, Uniform, finish

TABLES = 64
"""Number of coding tables, from the narrowest to the widest."""

TOTAL = 1 << 16
"""Sum of the counts of a table; every count is at least 1."""

MAX_SYMBOL = 32767
"""Largest magnitude of a symbol."""

MAX_SUPPORT = 1023
"""Largest magnitude a table covers without an escape."""

BEYOND = MAX_SUPPORT + 1
"""Stands for all magnitudes beyond every support, where symbols are counted."""

LOG_NARROWEST = -3.2
LOG_RATIO = 0.17
"""Table j stands for a Laplace distribution of scale exp(-3.2 + 0.17 j) quantisation steps."""

_PLAIN_BITS = Uniform(1 << 17)


def table_scale(index: float) -> float:
    """Laplace scale, in quantisation steps, that a table index stands for."""
    return math.exp(LOG_NARROWEST + LOG_RATIO * index)


def support(index: int) -> int:
    """Largest magnitude that table `index` codes without an escape."""
    return min(MAX_SUPPORT, math.ceil(12 * table_scale(index)) + 2)


_SUPPORTS = np.array([support(index) for index in range(TABLES)], np.int32)


def integer_counts(probabilities: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Counts of at least 1 that sum to `TOTAL`, rounded by the method of largest remainders."""
    shares = probabilities / probabilities.sum() * (TOTAL - probabilities.size)
    counts: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    left = TOTAL - probabilities.size - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:left]] += 1
    return (counts + 1).astype(np.uint16)


def laplace_probabilities(index: int) -> NDArray[np.float64]:
    """Probabilities of -s ... s, its support, and of the escape, shape (2 * support + 2,)."""
    scale, last = table_scale(index), support(index)
    tail = 0.5 * np.exp(-(np.arange(last + 2) - 0.5) / scale)  # P(symbol >= n), n >= 1
    one_side = tail[1:-1] - tail[2:]
    return np.concatenate([one_side[::-1], [1 - 2 * tail[1]], one_side, [2 * tail[-1]]])


@dataclass(frozen=True, eq=False)
class Tables:
    """The 64 coding tables of a model.

    Attributes:
        counts: one uint16 array a table, each of 2 * support + 2 counts that sum to 65536.
    """

    counts: tuple[NDArray[np.uint16], ...]

    def __post_init__(self) -> None:
        if len(self.counts) != TABLES:
            raise ValueError(f"expected {TABLES} coding tables. Received: {len(self.counts)}.")
        for index, counts in enumerate(self.counts):
            if counts.size != 2 * support(index) + 2 or counts.min() < 1 or counts.sum() != TOTAL:
                raise ValueError(
                    f"coding table {index} must hold {2 * support(index) + 2} counts of at least 1 "
                    f"that sum to {TOTAL}. The codec file is damaged: fetch it again."
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return Tables, (self.counts,)  # not what was computed from them

    @cached_property
    def models(self) -> list[Any]:
        """The tables as constriction sees them: counts over 2**16, which float64 holds exactly."""
        return [Categorical(c / np.float64(TOTAL), perfect=False) for c in self.counts]

    @cached_property
    def bits(self) -> NDArray[np.float32]:
        """Cost of signed symbols in bits, shape (64, 2049), centre at 0; the ends are escapes."""
        cost = np.empty((TABLES, 2 * BEYOND + 1), np.float32)
        for index, counts in enumerate(self.counts):
            own = -np.log2(counts / TOTAL)
            cost[index] = own[-1] + 17
            cost[index, BEYOND - support(index) : BEYOND + support(index) + 1] = own[:-1]
        return cost

    def cost(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits of each symbol under its table; both arrays have the same shape."""
        return self.bits[indices, np.clip(symbols, -BEYOND, BEYOND) + BEYOND]

    def pack(self) -> NDArray[np.uint16]:
        """All counts in one array, for saving."""
        return np.concatenate(self.counts)

    @classmethod
    def unpack(cls, packed: NDArray[np.uint16]) -> "Tables":
        """Inverse of `pack`."""
        ends = np.cumsum([2 * support(i) + 2 for i in range(TABLES)])
        return cls(tuple(np.split(packed, ends[:-1])))


def laplace_tables() -> Tables:
    """Tables of ideal Laplace distributions."""
    return Tables(tuple(integer_counts(laplace_probabilities(i)) for i in range(TABLES)))


class SymbolEncoder:
    """Writes arrays of symbols, each with its table index, into one range-coded stream."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._coder = RangeEncoder()

    def write(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> None:
        """Append symbols, table by table, distances of escapes after each; arrays of one shape."""
        order = np.argsort(indices.ravel(), kind="stable")
        ordered, tables = symbols.ravel()[order], indices.ravel()[order]
        last = _SUPPORTS[tables]
        inside = abs(ordered) <= last
        coded = np.where(inside, ordered + last, 2 * last + 1).astype(np.int32)
        for index, run in _runs(tables):
            self._coder.encode(coded[run], self._tables.models[index])
            far = ordered[run][~inside[run]]
            if far.size:
                if abs(far.astype(np.int64)).max() > MAX_SYMBOL:
                    raise ValueError(
                        f"symbols must lie within +-{MAX_SYMBOL}. Received: "
                        f"{far.min()} to {far.max()}. Clip them."
                    )
                distance = (abs(far) - support(index) - 1) * 2 + (far < 0)
                self._coder.encode(distance.astype(np.int32), _PLAIN_BITS)

    def finish(self) -> bytes:
        """The stream."""
        return finish(self._coder)


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote, given the same table indices.

    Args:
        tables: the coding tables.
        stream: the bytes.
        part: of the file, as error messages name it.
    """

    def __init__(self, tables: Tables, stream: bytes, part: str = "level") -> None:
        self._tables = tables
        self._coder = RangeDecoder(stream, part)

    def read(self, indices: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Next symbols, in the shape of `indices`."""
        order = np.argsort(indices.ravel(), kind="stable")
        tables, symbols = indices.ravel()[order], np.empty(indices.size, np.int32)
        for index, run in _runs(tables):
            last = support(index)
            part = self._coder.decode(self._tables.models[index], run.stop - run.start) - last
            if part.max() > last:
                far = part > last
                distance = self._coder.decode(_PLAIN_BITS, int(far.sum()))
                part[far] = (last + 1 + distance // 2) * np.where(distance % 2, -1, 1)
                if abs(part).max() > MAX_SYMBOL:
                    raise self._coder.damaged()
            symbols[order[run]] = part
        return symbols.reshape(indices.shape)


def _runs(indices: NDArray[np.uint8]) -> Iterator[tuple[int, slice]]:
    """Yield (table index, where it is used) for sorted indices."""
    ends = np.searchsorted(indices, np.arange(TABLES + 1)).tolist()
    for index in range(TABLES):
        if ends[index] < ends[index + 1]:
            yield index, slice(ends[index], ends[index + 1])
