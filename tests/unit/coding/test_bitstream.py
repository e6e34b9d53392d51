import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import (
    MAGIC,
    BitstreamError,
    Header,
    pack,
    read_varint,
    write_varint,
)

MODEL = bytes(range(4))
SECTIONS = (b"", b"map!", b"low level", b"medium", b"")
FIXED = 11  # bytes before the first varint

headers = st.builds(
    Header,
    width=st.integers(1, 9999),
    height=st.integers(1, 9999),
    quality=st.integers(0, 100),
    model=st.binary(min_size=4, max_size=4),
    grey=st.booleans(),
    stored=st.booleans(),
    unfiltered=st.booleans(),
)
sections = st.tuples(*[st.binary(max_size=300)] * 5)


def small_file(**changes):
    fields = {"width": 40, "height": 30, "quality": 50, "model": MODEL}
    return pack(Header(**{**fields, **changes}), SECTIONS)


@given(headers, sections)
def test_what_is_packed_is_unpacked(header, parts):
    data = pack(header, parts)
    found, restored = bitstream.unpack(data)
    assert tuple(restored) == parts
    assert found.lengths == tuple(map(len, parts))
    assert found == Header(**{**vars(header), "lengths": found.lengths})
    assert mr.info(data) == found


def test_a_small_file_is_these_bytes():
    head = (
        b"\x89MRD\x02\x32\x05"  # magic, version, quality 50, grey and unfiltered
        b"\x00\x01\x02\x03"  # model
        b"\xac\x02\x1e\x00\x04\x09\x06\x00"  # 300 wide, 30 high, five lengths
    )
    head += struct.pack("<3I", *(zlib.crc32(section) for section in SECTIONS if section))
    head += struct.pack("<I", zlib.crc32(head))
    assert small_file(width=300, grey=True, unfiltered=True) == head + b"".join(SECTIONS)


@given(st.integers(0, 2**35 - 1))
def test_a_number_comes_back_with_the_place_after_it(number):
    written = write_varint(number)
    assert len(written) == max(1, -(-number.bit_length() // 7))
    assert read_varint(b"??" + written + b"!", 2) == (number, 2 + len(written))


def test_a_number_that_is_too_long_or_cut_off_is_refused():
    with pytest.raises(BitstreamError, match="the number at byte 3 is longer than 5 bytes"):
        read_varint(b"abc" + b"\x80" * 5 + b"\x01", 3)
    with pytest.raises(BitstreamError, match="a number is cut off at byte 2"):
        read_varint(b"\x80\x80", 0)


# --- damage


def test_bytes_after_the_end_are_refused():
    with pytest.raises(BitstreamError, match="3 bytes follow the last section"):
        bitstream.unpack(small_file() + b"abc")


def reseal(data, place, new):
    """Change a header byte and make the header's checksum right again."""
    end = len(data) - sum(map(len, SECTIONS)) - 4
    head = bytearray(data[:end])
    head[place : place + len(new)] = new
    return bytes(head) + struct.pack("<I", zlib.crc32(head)) + data[end + 4 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"starts with 89 4d 52 44\. Received: nothing"),
        (b"\xff\xd8\xff\xe0 JPEG", r"Received: ff d8 ff e0\. Make one with"),
        (MAGIC, "the header is cut off at byte 4"),
        (reseal(small_file(), 4, b"\x01"), "expected format version 2. Received: version 1. Upd"),
        (reseal(small_file(), 5, b"\x65"), "expected a quality up to 100. Received: 101"),
        (reseal(small_file(), 6, b"\x08"), "expected flags up to 7. Received: 8"),
        (reseal(small_file(), FIXED, b"\x00"), "Received: 0x30. The file is damaged"),
        (small_file(width=65536), "at most 65535 pixels a side .* Received: 65536x30"),
        (small_file(width=65535, height=65535), "100,000,000 in all. Received: 65535x65535"),
    ],
    ids=[
        *("empty", "jpeg", "magic", "version", "quality", "flags", "zero", "wide", "bomb"),
    ],
)
def test_each_wrong_header_is_told_apart(data, message):
    with pytest.raises(BitstreamError, match=message):
        mr.info(data)


def test_the_largest_picture_is_allowed():
    header = mr.info(small_file(width=10_000, height=10_000))
    assert (header.width, header.height) == (10_000, 10_000)


@pytest.mark.parametrize("like", [bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
def test_any_object_that_holds_bytes_will_do(like):
    data = bitstream.pack(Header(3, 4, 50, bytes(4)), (b"", b"map", b"low", b"", b""))
    assert bitstream.unpack(like(data)) == bitstream.unpack(data)
    assert bitstream.read_header(like(data)) == bitstream.read_header(data)
    assert bitstream.up_to_level(like(data), 1) == data


@pytest.mark.parametrize(
    ("other", "hint"),
    [
        ("photo.mrdc", r"str. Read the file first: Path\(...\).read_bytes\(\)"),
        (Path("photo.mrdc"), "Path. Read the file first"),
        (io.BytesIO(), r"BytesIO. Read the file first: its read\(\)"),
        (None, "NoneType"),
    ],
)
def test_a_path_or_an_open_file_is_no_bytes(other, hint):
    with pytest.raises(TypeError, match=f"expected the bytes of a .mrdc file. Received: .*{hint}"):
        bitstream.unpack(other)
