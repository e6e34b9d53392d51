"""The `.mrdc` container: header, metadata, maps, three level sections, checksums.

All numbers are little-endian; `varint` is a base-128 number, low group first, at most 5 bytes.

    magic      4 bytes   89 4D 52 44
    version    1 byte    2: patches of 32, tiles of at most 1024 pixels
    quality    1 byte    0 to 100
    flags      1 byte    1 the picture is grey, 2 some tiles are stored without loss, 4 the filters
                         are off in some patches
    model      4 bytes   first bytes of the SHA-256 of the model's weights and tables
    width, height        two varints, 1 to 65535; at most 100,000,000 pixels
    lengths              five varints: bytes of metadata, maps, low, medium and high section
    checksums            CRC-32 of each section that is not empty, 4 bytes each
    checksum   4 bytes   CRC-32 of everything above
    sections             metadata, maps, low, medium, high

Every prefix that ends after a level section is a picture, if decoded with that `level`.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAGIC = b"\x89MRD"
VERSION = 2
_GREY, _STORED, _UNFILTERED = 1, 2, 4  # flags
_FIXED = 11  # bytes before the first varint
MAX_SIDE = 65535
MAX_PIXELS = 100_000_000
LEVEL_SECTIONS = ("low level", "medium level", "high level")
SECTIONS = ("metadata", "maps", *LEVEL_SECTIONS)
LEVELS = len(LEVEL_SECTIONS)


class BitstreamError(ValueError):
    """The bytes are not a readable `.mrdc` file; the message says which part is wrong."""


def damaged(what: str) -> BitstreamError:
    """The error for bytes that no encoder writes."""
    return BitstreamError(f"{what} The file is damaged: fetch it again.")


@dataclass(frozen=True)
class Header:
    """What a file says about itself.

    Attributes:
        width, height: pixels.
        quality: 0 to 100.
        model: 4 bytes that name the weights and tables.
        lengths: bytes of the metadata, maps, low, medium and high sections.
        grey: the picture has no colour.
        stored: some tiles are stored without loss.
        unfiltered: the filters are off in some patches.
    """

    width: int
    height: int
    quality: int
    model: bytes
    lengths: tuple[int, ...] = (0, 0, 0, 0, 0)
    grey: bool = False
    stored: bool = False
    unfiltered: bool = False


def as_bytes(data: Any) -> bytes:
    """The bytes of a file from any object that holds bytes, such as a memoryview or an array.

    Raises `TypeError` for others, paths and open files among them.
    """
    if isinstance(data, bytes):
        return data
    try:
        return memoryview(data).tobytes()
    except TypeError as error:
        opened = hasattr(data, "read")
        raise TypeError(
            f"expected the bytes of a .mrdc file. Received: {type(data).__name__}. "
            f"Read the file first: {'its read()' if opened else 'Path(...).read_bytes()'}."
        ) from error


def write_varint(number: int) -> bytes:
    """Base-128 encoding, seven bits a byte, low bits first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def read_varint(data: bytes, at: int, part: str = "header") -> tuple[int, int]:
    """The number that starts at `at`, and the place after it; `part` is what an error names."""
    number = 0
    for count in range(5):
        if at + count >= len(data):
            raise damaged(f"in the {part}, a number is cut off at byte {len(data)}.")
        byte = data[at + count]
        number |= (byte & 127) << (7 * count)
        if byte < 128:
            return number, at + count + 1
    raise damaged(f"in the {part}, the number at byte {at} is longer than 5 bytes.")


def pack(header: Header, sections: Sequence[bytes]) -> bytes:
    """The bytes of a file. `header.lengths` is taken from the five sections."""
    flags = _GREY * header.grey + _STORED * header.stored + _UNFILTERED * header.unfiltered
    head = MAGIC + bytes([VERSION, header.quality, flags]) + header.model
    numbers = (header.width, header.height, *map(len, sections))
    head += b"".join(map(write_varint, numbers))
    head += b"".join(struct.pack("<I", zlib.crc32(s)) for s in sections if s)
    return head + struct.pack("<I", zlib.crc32(head)) + b"".join(sections)


def unpack(data: bytes, *, levels: int = 3) -> tuple[Header, list[bytes]]:
    """Header, metadata, maps and the first `levels` level sections, checksums verified.

    Raises:
        BitstreamError: if the file is foreign, of a newer version, cut off before the end of
            the last section asked for, or damaged.
    """
    data = as_bytes(data)
    header, checksums, at = _read_header(data)
    sections = []
    for number in range(levels + 2):
        section = data[at : at + header.lengths[number]]
        at += header.lengths[number]
        if len(section) < header.lengths[number]:
            raise BitstreamError(
                f"the {SECTIONS[number]} section should end at byte {at}, but the file has only "
                f"{len(data)}. It was cut off: fetch it again, or decode a lower level."
            )
        if zlib.crc32(section) != checksums[number]:
            raise damaged(f"the {SECTIONS[number]} section does not match its checksum.")
        sections.append(section)
    if levels == 3 and at != len(data):
        raise damaged(f"{len(data) - at} bytes follow the last section.")
    return header, sections


def join_streams(streams: Sequence[bytes]) -> bytes:
    """A level section: the streams of its tiles, the length before each but the last."""
    *others, last = streams
    return b"".join(write_varint(len(part)) + part for part in others) + last


def split_streams(section: bytes, tiles: int, part: str) -> list[bytes]:
    """Inverse of `join_streams`; `part` is what an error names."""
    at, streams = 0, []
    for _ in range(tiles - 1):
        length, at = read_varint(section, at, part)
        streams.append(section[at : at + length])
        at += length
    if at > len(section):
        raise damaged(f"the tiles of the {part} claim {at} bytes, but it has {len(section)}.")
    return [*streams, section[at:]]


def up_to_level(data: bytes, level: int) -> bytes:
    """The start of a file that ends with level 1, 2 or 3: a smaller file of a coarser picture."""
    return as_bytes(data)[: size_up_to(data, level)]


def size_up_to(data: bytes, level: int) -> int:
    """Bytes of a file as far as a level, by its header; fewer may be there if it was cut off."""
    header, _, at = _read_header(data)
    return at + sum(header.lengths[: level + 2])


def read_header(data: bytes) -> Header:
    """What the file says about itself, header checksum verified; sections are not read."""
    return _read_header(data)[0]


def _read_header(data: bytes) -> tuple[Header, tuple[int, ...], int]:
    data = as_bytes(data)
    _check_start(data)
    quality, flags = data[5:7]
    at, numbers = _FIXED, []
    for _ in range(7):
        number, at = read_varint(data, at)
        numbers.append(number)
    width, height, *lengths = numbers
    end = at + 4 * sum(length > 0 for length in lengths)
    if len(data) < end + 4:
        raise damaged(f"the header is cut off at byte {len(data)}.")
    if zlib.crc32(data[:end]) != struct.unpack("<I", data[end : end + 4])[0]:
        raise damaged("the header does not match its checksum.")
    checksums = iter(struct.unpack(f"<{(end - at) // 4}I", data[at:end]))
    expected = tuple(next(checksums) if length else 0 for length in lengths)
    set_flags = (bool(flags & flag) for flag in (_GREY, _STORED, _UNFILTERED))
    header = Header(width, height, quality, data[7:_FIXED], tuple(lengths), *set_flags)
    _check_limits(header, flags)
    return header, expected, end + 4


def _check_start(data: bytes) -> None:
    if data[:4] != MAGIC:
        found = data[:4].hex(" ") or "nothing"
        raise BitstreamError(
            f"expected a .mrdc file, which starts with {MAGIC.hex(' ')}. Received: {found}. "
            "Make one with `mrdcae compress`."
        )
    if len(data) < _FIXED:
        raise damaged(f"the header is cut off at byte {len(data)}.")
    if data[4] != VERSION:
        raise BitstreamError(
            f"expected format version {VERSION}. Received: version {data[4]}. "
            "Update mrdcae-lite to read it."
        )


def size_fits(width: int, height: int) -> bool:
    """Whether the format can hold a picture of this size."""
    sides_fit = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE
    return sides_fit and width * height <= MAX_PIXELS


def _check_limits(header: Header, flags: int) -> None:
    if not size_fits(header.width, header.height):
        raise damaged(
            f"expected at most {MAX_SIDE} pixels a side and {MAX_PIXELS:,} in all. "
            f"Received: {header.width}x{header.height}."
        )
    if flags > _GREY + _STORED + _UNFILTERED:
        raise BitstreamError(f"expected flags up to 7. Received: {flags}.")
    if header.quality > 100:
        raise BitstreamError(f"expected a quality up to 100. Received: {header.quality}.")
