import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrdcae_lite.coding.routing_map import read_routing, write_routing
from mrdcae_lite.evaluation.inspection import routing_information

maps = array_shapes(min_dims=2, max_dims=2, max_side=20).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(1, 3))
)


@given(maps)
def test_a_routing_map_comes_back(routing):
    restored = read_routing(write_routing(routing), routing.shape)
    np.testing.assert_array_equal(restored, routing)
    assert restored.dtype == np.uint8


@given(maps)
def test_no_routing_map_takes_two_bytes_more_than_its_information(routing):
    assert len(write_routing(routing)) <= routing_information(routing) / 8 + 2


def test_a_map_in_one_piece_is_cheaper_than_a_scattered_one(rng):
    ordered = np.repeat([1, 2, 3], 200).reshape(20, 30).astype(np.uint8)
    scattered = rng.permutation(ordered.ravel()).reshape(20, 30)
    assert 4 * len(write_routing(ordered)) < len(write_routing(scattered))
    assert 8 * len(write_routing(scattered)) < 1.1 * np.log2(3) * scattered.size + 64
