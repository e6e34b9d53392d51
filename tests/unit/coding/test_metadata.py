import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError, Header, write_varint
from mrdcae_lite.coding.metadata import LARGEST, NO_METADATA, Metadata, pack, read_metadata, unpack

ALPHA = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40))


EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"Me!\0", 0)


def chunk(letter, payload):
    return letter + write_varint(len(payload)) + payload


def file_with(section, height, width):
    header = Header(width, height, 50, bytes(4))
    return bitstream.pack(header, (section, b"map", b"low", b"medium", b"high"))


@given(alpha=ALPHA, icc=st.binary(max_size=50), exif=st.sampled_from([b"", EXIF]))
def test_what_is_packed_is_unpacked_without_loss(alpha, icc, exif):
    height, width = alpha.shape
    for kept in (Metadata(alpha, icc, exif), Metadata(None, icc, exif)):
        assert unpack(pack(kept), height, width) == kept


def test_metadata_are_equal_where_every_part_is():
    alpha = np.arange(6, dtype=np.uint8).reshape(2, 3)
    kept = Metadata(alpha, b"profile")
    assert kept == Metadata(alpha.copy(), b"profile")
    others = (Metadata(alpha + 1, b"profile"), Metadata(alpha[:1], b"profile"), Metadata(alpha))
    assert all(kept != other for other in (*others, Metadata(None, b"profile"), None))


def test_nothing_takes_no_bytes():
    assert pack(NO_METADATA) == b""
    assert unpack(b"", 3, 4) == NO_METADATA == Metadata(None, b"", b"")


def test_a_soft_edge_takes_few_bytes():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, axis=1)
    assert len(pack(Metadata(ramp))) < 400


def test_a_file_tells_its_metadata_without_a_codec(rng):
    kept = Metadata(rng.integers(0, 256, (5, 7), np.uint8), b"profile", EXIF, bytes(range(12)))
    data = file_with(pack(kept), 5, 7)
    assert read_metadata(data) == kept
    start = data[: data.index(b"low")]
    assert read_metadata(start) == kept
    for place in (len(start) - 1, data.index(pack(kept)), 20, 0):
        with pytest.raises(BitstreamError):
            read_metadata(start[:place])


@pytest.mark.parametrize(("name", "start"), [("icc", b""), ("exif", EXIF)])
def test_enormous_profiles_and_camera_data_are_not_packed(name, start):
    with pytest.raises(ValueError, match="may have 16,777,216 bytes. Received: 16,777,217"):
        pack(Metadata(**{name: start.ljust(LARGEST + 1, b"\0")}))
    largest = start.ljust(LARGEST, b"\0")
    assert getattr(unpack(pack(Metadata(**{name: largest})), 1, 1), name) == largest


def test_camera_data_that_nothing_can_read_are_not_packed():
    with pytest.raises(ValueError, match="EXIF data start with II or MM. Received: b'garb'"):
        pack(Metadata(exif=b"garbage"))


@pytest.mark.parametrize(
    ("letter", "size", "limit"),
    [(b"A", 10**8, 12), (b"I", 10**8, LARGEST), (b"E", 10**8, LARGEST), (b"A", 13, 12)],
)
def test_a_bomb_is_refused_before_it_has_grown(letter, size, limit):
    section = chunk(letter, zlib.compress(bytes(size), 9))
    tracemalloc.start()
    with pytest.raises(BitstreamError, match=f"unpacks to more than {limit} bytes"):
        unpack(section, 3, 4)
    assert tracemalloc.get_traced_memory()[1] < 2 * limit + 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 11])
def test_transparency_of_another_size_is_refused(size):
    section = chunk(b"A", zlib.compress(bytes(size)))
    with pytest.raises(
        BitstreamError, match=f"expected 12 bytes of transparency. Received: {size}"
    ):
        unpack(section, 3, 4)


PROFILE = zlib.compress(b"profile")
DAMAGED = {
    "an unknown letter": (chunk(b"Q", PROFILE), "impossible chunk"),
    "the same letter twice": (chunk(b"I", PROFILE) * 2, "impossible chunk"),
    "a chunk beyond the end": (b"I" + write_varint(len(PROFILE) + 1) + PROFILE, "impossible chunk"),
    "an enormous length": (b"I" + write_varint(2**35 - 1), "impossible chunk"),
    "a letter alone": (b"I", "cut off at byte 1"),
    "a length without end": (b"I" + b"\xff" * 6, "longer than 5 bytes"),
    "a cut payload": (chunk(b"I", PROFILE[:-1]), "or is cut off"),
    "an empty payload": (chunk(b"I", b""), "or is cut off"),
    "bytes after the payload": (chunk(b"I", PROFILE + b"!"), "more than"),
    "a changed payload": (chunk(b"I", PROFILE[:-1] + b"?"), "section is damaged"),
    "no payload at all": (chunk(b"I", b"profile"), "section is damaged"),
}


@pytest.mark.parametrize(("section", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_section_is_one_error(section, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(section, 3, 4)


@given(section=st.binary(max_size=60))
def test_no_bytes_end_in_another_exception(section):
    for letter in (b"", b"A", b"I"):
        try:
            kept = unpack(letter + section, 3, 4)
        except BitstreamError as error:
            assert "\n" not in str(error)
        else:
            assert kept.alpha is None or kept.alpha.shape == (3, 4)
