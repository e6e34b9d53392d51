import numpy as np

from mrdcae_lite.core.pixels import denormalise, normalise


def test_normalising_is_undone_exactly():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    normal = normalise(every)
    assert normal.dtype == np.float32
    assert (normal.min(), normal.max()) == (0, 1)
    np.testing.assert_array_equal(denormalise(normal), every)


def test_values_outside_the_range_are_clipped():
    np.testing.assert_array_equal(denormalise(np.array([-0.3, 1.7])), [0, 255])
