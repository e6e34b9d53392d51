import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.maps import Maps, read_maps, write_maps
from mrdcae_lite.evaluation.inspection import routing_information

shapes = array_shapes(min_dims=2, max_dims=2, max_side=20)
routings = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(1, 3)))


def plain(routing):
    """Maps in which only the routing says something."""
    return Maps(routing, np.zeros(routing.shape, bool), np.zeros((2, 3), bool))


@given(routings, st.data())
def test_maps_come_back(routing, data):
    unfiltered = data.draw(arrays(bool, routing.shape))
    stored = data.draw(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=4)))
    there = {"stored": bool(stored.any()), "filters": bool(unfiltered.any())}
    stream = write_maps(Maps(routing, unfiltered, stored))
    found = read_maps(stream, routing.shape, stored.shape, **there)
    for restored, expected in (
        (found.routing, routing),
        (found.unfiltered, unfiltered),
        (found.stored, stored),
    ):
        np.testing.assert_array_equal(restored, expected)
        assert restored.dtype == expected.dtype


@given(routings)
def test_no_routing_map_takes_two_bytes_more_than_its_information(routing):
    assert len(write_maps(plain(routing))) <= routing_information(routing) / 8 + 2


def test_a_map_in_one_piece_is_cheaper_than_a_scattered_one(rng):
    ordered = np.repeat([1, 2, 3], 200).reshape(20, 30).astype(np.uint8)
    scattered = rng.permutation(ordered.ravel()).reshape(20, 30)
    cheap, dear = (len(write_maps(plain(routing))) for routing in (ordered, scattered))
    assert 4 * cheap < dear
    assert 8 * dear < 1.1 * np.log2(3) * scattered.size + 64


def test_a_map_of_two_values_costs_at_most_a_bit_a_place(rng):
    routing = np.ones((20, 30), np.uint8)
    unfiltered, nothing = rng.random((20, 30)) < 0.5, np.zeros((1, 1), bool)
    more = len(write_maps(Maps(routing, unfiltered, nothing))) - len(write_maps(plain(routing)))
    assert 8 * more < unfiltered.size + 64


def test_bytes_that_no_encoder_writes_are_read_or_refused(rng):
    for _ in range(200):
        stream = rng.bytes(rng.integers(0, 12))
        try:
            found = read_maps(stream, (3, 4), (2, 2), stored=True, filters=True)
        except BitstreamError as error:
            assert "the maps section holds impossible data" in str(error)
        else:
            assert set(np.unique(found.routing)) <= {1, 2, 3}
