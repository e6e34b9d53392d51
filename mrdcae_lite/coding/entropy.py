"""Integer coding tables and the range coder.

Life cycle: `laplace_tables` gives 64 tables from a formula; `fit_tables` sharpens them with the
symbols a trained model really produces; the counts travel with the weights, as integers, and
both sides code with them. Nothing here depends on floating-point networks: a symbol's table is
an integer, its probability a ratio of integers.

A table covers the symbols -s ... s, its support, and an escape. A symbol beyond the support is
coded as the escape followed by its sign and its distance, with 17 plain bits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding.range_coder import Categorical, RangeDecoder, RangeEncoder, Uniform, finish
from mrdcae_lite.core.quality import QUALITIES, quantisation_step

TABLES = 64
"""Number of coding tables, from the narrowest to the widest."""

TOTAL = 1 << 16
"""Sum of the counts of a table; every count is at least 1."""

MAX_SYMBOL = 32767
"""Largest magnitude of a symbol."""

MAX_SUPPORT = 1023
"""Largest magnitude a table covers without an escape."""

_BEYOND = MAX_SUPPORT + 1

LOG_NARROWEST = -3.2
LOG_RATIO = 0.17
"""Table j stands for a Laplace distribution of scale exp(-3.2 + 0.17 j) quantisation steps."""

_PLAIN_BITS = Uniform(1 << 17)


def table_scale(index: float) -> float:
    """Laplace scale, in quantisation steps, that a table index stands for."""
    return math.exp(LOG_NARROWEST + LOG_RATIO * index)


def starting_curve(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quarter table index of bands with standard deviation `std`, linear in the quality.

    Returns (4, bands) coefficients for `quality.quality_features`, before any training.
    """
    steps = np.array([quantisation_step(0), quantisation_step(QUALITIES - 1)])
    ends = (np.log(std[None, :] / steps[:, None] / np.sqrt(2)) - LOG_NARROWEST) / LOG_RATIO / 4
    curve = np.zeros((4, std.size))
    curve[0], curve[1] = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    return curve


def support(index: int) -> int:
    """Largest magnitude that table `index` codes without an escape."""
    return min(MAX_SUPPORT, math.ceil(12 * table_scale(index)) + 2)


def _integer_counts(probabilities: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Counts of at least 1 that sum to `TOTAL`, rounded by the method of largest remainders."""
    shares = probabilities / probabilities.sum() * (TOTAL - probabilities.size)
    counts = np.floor(shares).astype(np.int64)
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

    @cached_property
    def models(self) -> list[Any]:
        """The tables as constriction sees them (exact ratios of integers)."""
        return [Categorical(c / np.float64(TOTAL), perfect=False) for c in self.counts]

    @cached_property
    def bits(self) -> NDArray[np.float32]:
        """Cost of signed symbols in bits, shape (64, 2049), centre at 0; the ends are escapes."""
        cost = np.empty((TABLES, 2 * _BEYOND + 1), np.float32)
        for index, counts in enumerate(self.counts):
            own = -np.log2(counts / TOTAL)
            cost[index] = own[-1] + 17
            cost[index, _BEYOND - support(index) : _BEYOND + support(index) + 1] = own[:-1]
        return cost

    def cost(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits of each symbol under its table; both arrays have the same shape."""
        return self.bits[indices, np.clip(symbols, -_BEYOND, _BEYOND) + _BEYOND]

    def __reduce__(self) -> tuple[Any, ...]:
        return Tables, (self.counts,)  # what is cached cannot be pickled

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
    return Tables(tuple(_integer_counts(laplace_probabilities(i)) for i in range(TABLES)))


PSEUDO_COUNT = 200
"""Observations that the Laplace formula counts as, beside those that were made."""


def fit_tables(histograms: NDArray[np.int64]) -> Tables:
    """Tables that follow observed symbols where there are many, the Laplace formula elsewhere.

    Args:
        histograms: (64, 2049) times that each table met each symbol, centre at symbol 0, the
            ends for all symbols beyond every support. Both signs are counted together, as the
            distributions are symmetrical.
    """
    tables = []
    for index in range(TABLES):
        seen, last = histograms[index] + histograms[index][::-1], support(index)
        inside = seen[_BEYOND - last : _BEYOND + last + 1]
        observed = np.append(inside, seen.sum() - inside.sum()) / 2
        tables.append(_integer_counts(observed + PSEUDO_COUNT * laplace_probabilities(index)))
    return Tables(tuple(tables))


class SymbolCounter:
    """Counts how often each table meets each symbol, for `fit_tables`."""

    def __init__(self) -> None:
        self.histograms = np.zeros((TABLES, 2 * _BEYOND + 1), np.int64)

    def write(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> None:
        """Count symbols. Both arrays have the same shape."""
        column = np.clip(symbols, -_BEYOND, _BEYOND) + _BEYOND
        cell = indices.astype(np.int64) * self.histograms.shape[1] + column
        counted = np.bincount(cell.ravel(), minlength=self.histograms.size)
        self.histograms += counted.reshape(self.histograms.shape)


class SymbolEncoder:
    """Writes arrays of symbols, each with its table index, into one range-coded stream."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._coder = RangeEncoder()

    def write(self, symbols: NDArray[np.int32], indices: NDArray[np.uint8]) -> None:
        """Append symbols. Both arrays have the same shape."""
        order = np.argsort(indices.ravel(), kind="stable")
        ordered = symbols.ravel()[order]
        for index, part in _runs(indices.ravel()[order], ordered):
            last = support(index)
            inside = abs(part) <= last
            coded = np.where(inside, part + last, 2 * last + 1).astype(np.int32)
            self._coder.encode(coded, self._tables.models[index])
            far = part[~inside]
            if far.size:
                if abs(far.astype(np.int64)).max() > MAX_SYMBOL:
                    raise ValueError(
                        f"symbols must lie within +-{MAX_SYMBOL}. Received: "
                        f"{far.min()} to {far.max()}. Clip them."
                    )
                distance = (abs(far) - last - 1) * 2 + (far < 0)
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
        ordered = np.empty(indices.size, np.int32)
        for index, part in _runs(indices.ravel()[order], ordered):
            last = support(index)
            part[:] = self._coder.decode(self._tables.models[index], part.size) - last
            far = part > last
            if far.any():
                distance = self._coder.decode(_PLAIN_BITS, int(far.sum()))
                part[far] = (last + 1 + distance // 2) * np.where(distance % 2, -1, 1)
                if abs(part).max() > MAX_SYMBOL:
                    raise self._coder.damaged()
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols.reshape(indices.shape)


def _runs(
    indices: NDArray[np.uint8], values: NDArray[np.int32]
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield (table index, view of the values that use it) for sorted indices."""
    ends = np.searchsorted(indices, np.arange(TABLES + 1))
    for index in range(TABLES):
        if ends[index] < ends[index + 1]:
            yield index, values[ends[index] : ends[index + 1]]
