import numpy as np

from mrdcae_lite.coding.entropy import MAX_SUPPORT, TABLES, laplace_tables
from mrdcae_lite.training.tables import count_symbols, fit_tables

LAPLACE = laplace_tables()


def test_tables_fitted_to_nothing_are_the_laplace_tables():
    nothing = np.zeros(0, np.int32), np.zeros(0, np.uint8)
    fitted = fit_tables(count_symbols(*nothing))
    np.testing.assert_array_equal(fitted.pack(), LAPLACE.pack())


def test_fitted_tables_cost_less_on_what_they_were_fitted_to(rng):
    indices = np.full(20000, 30, np.uint8)
    symbols = rng.integers(-2, 3, indices.size).astype(np.int32)
    fitted = fit_tables(count_symbols(symbols, indices))
    cost = fitted.cost(symbols, np.full(symbols.shape, 30)).mean()
    assert np.log2(5) <= cost < np.log2(5) * 1.05
    np.testing.assert_array_equal(fitted.counts[31], LAPLACE.counts[31])


def test_every_symbol_is_counted_under_its_table(rng):
    symbols, indices = rng.integers(-4, 5, (50, 7)), rng.integers(0, TABLES, (50, 7))
    histograms = count_symbols(symbols.astype(np.int32), indices.astype(np.uint8))
    for index, symbol in ((3, 0), (17, -2), (63, 4)):
        expected = ((indices == index) & (symbols == symbol)).sum()
        assert histograms[index, symbol + MAX_SUPPORT + 1] == expected
    assert histograms.sum() == symbols.size
