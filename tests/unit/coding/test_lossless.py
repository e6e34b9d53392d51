from contextlib import suppress

import numpy as np
import pytest

from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.lossless import (
    FEW_COLOURS,
    looks_drawn,
    read_lossless,
    write_lossless,
)
from mrdcae_lite.io.images import sample


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (40, 3), (65, 90)])
def test_any_pixels_come_back_exactly(shape, rng):
    tile = rng.integers(0, 256, (*shape, 3), np.uint8)
    found = read_lossless(write_lossless(tile), shape)
    np.testing.assert_array_equal(found, tile)
    assert found.dtype == np.uint8


def test_a_grey_tile_comes_back_in_three_channels(rng):
    tile = np.repeat(rng.integers(0, 256, (20, 30, 1), np.uint8), 3, axis=2)
    np.testing.assert_array_equal(read_lossless(write_lossless(tile), (20, 30)), tile)


def test_surfaces_and_few_colours_look_drawn_and_photographs_do_not(rng):
    colours = rng.integers(0, 256, (FEW_COLOURS, 3), np.uint8)
    dithered = colours[rng.integers(0, FEW_COLOURS, (100, 100))]
    plates = np.kron(rng.integers(0, 256, (50, 50, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    assert looks_drawn(dithered)
    assert looks_drawn(plates)
    assert not looks_drawn(rng.integers(0, 256, (100, 100, 3), np.uint8))
    for name in ("flowers", "dog"):
        assert not looks_drawn(sample(name)[:256, :256])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_tiles_can_be_asked_about(shape):
    assert looks_drawn(np.zeros((*shape, 3), np.uint8))


def test_damaged_streams_are_refused():
    stream = write_lossless(sample("dog")[:30, :40])
    foreign = b"\x89PNG\r\n\x1a\n" + stream
    for damaged in (b"", stream[:20], stream[: len(stream) // 2], stream[4:], foreign):
        with pytest.raises(BitstreamError, match="a stored tile holds impossible data"):
            read_lossless(damaged, (30, 40))


def test_a_tile_of_another_size_is_refused():
    with pytest.raises(BitstreamError, match=r"a stored tile is \(40, 30\), expected \(30, 40\)"):
        read_lossless(write_lossless(sample("dog")[:30, :40]), (40, 30))


def test_no_change_of_a_byte_ends_in_another_exception(rng):
    stream = write_lossless(sample("dog")[:30, :40])
    for _ in range(300):
        changed = bytearray(stream)
        changed[rng.integers(len(stream))] = rng.integers(256)
        with suppress(BitstreamError):
            assert read_lossless(bytes(changed), (30, 40)).shape == (30, 40, 3)
