import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebvander

from mrdcae_lite.core.quality import check_quality, quality_features, quantisation_step


def test_the_scale_runs_from_the_coarsest_to_the_finest_step():
    assert quantisation_step(0) == pytest.approx(200 / 255)
    assert quantisation_step(100) == pytest.approx(5 / 255)


def test_one_quality_more_makes_the_step_smaller_by_the_same_factor():
    steps = np.array([quantisation_step(quality) for quality in range(101)])
    np.testing.assert_allclose(steps[1:] / steps[:-1], (5 / 200) ** 0.01)


def test_the_features_are_chebyshev_polynomials():
    features = quality_features(np.arange(101))
    np.testing.assert_allclose(features, chebvander(np.linspace(-1, 1, 101), 3), atol=1e-6)
    assert features.dtype == np.float32


@pytest.mark.parametrize("quality", [0, 100, np.int64(50), np.uint8(7)])
def test_whole_numbers_up_to_100_are_qualities(quality):
    checked = check_quality(quality)
    assert checked == quality
    assert type(checked) is int


@pytest.mark.parametrize(
    "quality", [-1, 101, 50.0, 50.5, True, np.True_, "50", float("nan"), float("inf"), None]
)
def test_anything_else_is_refused(quality):
    with pytest.raises(ValueError, match=r"a whole number from 0 to 100\. Received: quality="):
        check_quality(quality)
