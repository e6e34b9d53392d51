import math
from collections.abc import Callable

import pytest

from mrdcae_lite.evaluation.curves import Point, Points

RATES = (0.15, 0.3, 0.6, 1.2, 2.4)


@pytest.fixture(scope="session")
def line() -> Callable[..., Points]:
    """Makes points whose every quality is a straight line over the logarithm of the rate."""

    def make(gain: float = 0.0, rates: tuple[float, ...] = RATES) -> Points:
        return tuple(
            Point(
                *(number, 1000 * rate, rate, 30 + 5 * math.log2(rate) + gain),
                *(1 - 10 ** -((10 + 3 * math.log2(rate) + gain) / 10), math.nan),
                *(36 + math.log2(rate) + gain, 28 + math.log2(rate) + gain, 0.9, 0.7, 0.5, 0.25),
            )
            for number, rate in enumerate(rates)
        )

    return make
