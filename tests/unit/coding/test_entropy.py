import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import laplace

from mrdcae_lite.coding import entropy
from mrdcae_lite.coding.entropy import (
    MAX_SUPPORT,
    MAX_SYMBOL,
    TABLES,
    SymbolDecoder,
    SymbolEncoder,
    Tables,
)

LAPLACE = entropy.laplace_tables()
every_table = range(TABLES)


def encode(symbols, indices):
    coder = SymbolEncoder(LAPLACE)
    coder.write(np.asarray(symbols, np.int32), np.asarray(indices, np.uint8))
    return coder.finish()


def ideal_bits(symbols, indices):
    return LAPLACE.cost(symbols, indices).sum(dtype=np.float64)


def draw(rng, indices):
    """Symbols that follow their tables."""
    uniform = rng.random(indices.shape)
    scales = np.exp(entropy.LOG_NARROWEST + entropy.LOG_RATIO * indices)
    return (
        np.rint(laplace.ppf(uniform, scale=scales)).astype(np.int32).clip(-MAX_SUPPORT, MAX_SUPPORT)
    )


# --- tables


def test_every_table_is_of_integers_from_1_that_sum_to_65536():
    assert len(LAPLACE.counts) == TABLES == 64
    for counts in LAPLACE.counts:
        assert counts.dtype == np.uint16
        assert counts.min() >= 1
        assert counts.sum(dtype=np.int64) == 65536


@pytest.mark.parametrize("index", [0, 7, 20, 44, 63])
def test_probabilities_are_the_laplace_masses_of_scipy(index):
    scale, last = entropy.table_scale(index), entropy.support(index)
    edges = np.arange(-last, last + 2) - 0.5
    inside = np.diff(laplace.cdf(edges, scale=scale))
    escape = 2 * laplace.sf(last + 0.5, scale=scale)
    found = entropy.laplace_probabilities(index)
    np.testing.assert_allclose(found, np.append(inside, escape), rtol=1e-6, atol=1e-15)


def test_counts_follow_the_probabilities_closely():
    for index in every_table:
        exact = entropy.laplace_probabilities(index) * 65536
        lost = exact.size * (1 + exact / 65536) + 1
        assert (abs(LAPLACE.counts[index] - exact) <= lost).all()


def test_the_cost_of_a_symbol_is_minus_the_logarithm_of_its_share():
    counts = LAPLACE.counts[20].astype(float)
    last = entropy.support(20)
    row = LAPLACE.bits[20]
    symbols = np.arange(-last, last + 1)
    inside = LAPLACE.cost(symbols, np.full(symbols.shape, 20))
    np.testing.assert_allclose(inside, 16 - np.log2(counts[:-1]), rtol=1e-6)
    np.testing.assert_allclose(row[[0, row.size // 2 + last + 1]], 16 - np.log2(counts[-1]) + 17)


def test_a_symbol_beyond_the_widest_table_costs_an_escape():
    symbols = np.array([MAX_SUPPORT, MAX_SUPPORT + 1, 1400, -MAX_SYMBOL], np.int32)
    cost = LAPLACE.cost(symbols, np.full(4, TABLES - 1, np.uint8))
    escape = 16 - np.log2(LAPLACE.counts[-1][-1]) + 17
    assert cost[0] < escape - 1
    np.testing.assert_allclose(cost[1:], escape, rtol=1e-6)


def test_tables_must_be_64():
    with pytest.raises(ValueError, match=r"expected 64 coding tables\. Received: 63"):
        Tables(LAPLACE.counts[:-1])


def test_a_table_that_does_not_add_up_is_refused():
    first, second, *rest = LAPLACE.counts[5]
    no_count, no_symbol = (0, first + second, *rest), (first + second, *rest)
    for damaged in (no_count, no_symbol, LAPLACE.counts[5] + 1):
        counts = (*LAPLACE.counts[:5], np.array(damaged, np.uint16), *LAPLACE.counts[6:])
        with pytest.raises(ValueError, match="coding table 5 must hold"):
            Tables(counts)


# --- the range coder


def test_a_short_message_is_these_bytes():
    stream = encode([0, 1, -1, 3, -40, 0, 2000], [5, 20, 20, 30, 20, 0, 63])
    assert stream.hex() == "ba6c20a1688cc1e8"


def test_real_bits_are_hardly_more_than_ideal_bits(rng):
    indices = rng.integers(0, TABLES, 200_000).astype(np.uint8)
    symbols = draw(rng, indices)
    ideal, real = ideal_bits(symbols, indices), 8 * len(encode(symbols, indices))
    assert ideal <= real <= 1.0005 * ideal + 64


def test_nothing_takes_no_bytes():
    assert encode([], []) == b""


messages = st.integers(0, 200).flatmap(
    lambda size: st.tuples(
        arrays(np.int32, size, elements=st.integers(-1100, 1100)),
        arrays(np.uint8, size, elements=st.integers(0, TABLES - 1)),
    )
)


@given(messages)
def test_what_is_written_is_read(message):
    symbols, indices = message
    decoded = SymbolDecoder(LAPLACE, encode(symbols, indices)).read(indices)
    np.testing.assert_array_equal(decoded, symbols)
    assert decoded.dtype == np.int32


@given(messages)
def test_no_message_takes_two_bytes_more_than_its_information(message):
    symbols, indices = np.clip(message[0], -MAX_SUPPORT, MAX_SUPPORT), message[1]
    stream = encode(symbols, indices)
    assert len(stream) <= ideal_bits(symbols, indices) / 8 + 2
    assert not stream.endswith(b"\0")


@pytest.mark.parametrize("index", [0, 20, 63])
@pytest.mark.parametrize("beyond", [0, 1, 2, 1000, 31000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_symbols_at_and_beyond_the_support_come_back(index, beyond, sign):
    symbol = sign * (entropy.support(index) + beyond)
    indices = np.array([index, 3, index], np.uint8)
    stream = encode([symbol, 1, symbol], indices)
    np.testing.assert_array_equal(SymbolDecoder(LAPLACE, stream).read(indices), [symbol, 1, symbol])


def test_several_writes_are_read_in_the_same_portions(rng):
    portions = [rng.integers(0, TABLES, shape).astype(np.uint8) for shape in ((3, 5), (0, 4), (2,))]
    coder = SymbolEncoder(LAPLACE)
    written = [draw(rng, indices) for indices in portions]
    for symbols, indices in zip(written, portions, strict=True):
        coder.write(symbols, indices)
    reader = SymbolDecoder(LAPLACE, coder.finish())
    for symbols, indices in zip(written, portions, strict=True):
        np.testing.assert_array_equal(reader.read(indices), symbols)
