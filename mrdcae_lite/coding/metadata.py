"""Metadata of a picture: transparency, colour profile, camera data, and what it was made from.

They travel in a section of their own, in chunks: a letter, the payload's length as a varint, and
the payload, compressed with zlib (RFC 1950):

    A   transparency: one byte a pixel, each row as its difference to the row above modulo 256
    I   ICC profile
    E   EXIF data, beginning with "Exif" and two zero bytes; no orientation: pixels are upright
    O   origin: 12 bytes that name the source and the options the file was made from
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import damaged, read_varint, write_varint
from mrdcae_lite.coding.exif import without_layout

LARGEST = 1 << 24
"""Bytes that a profile or camera data may have at most."""


@dataclass(frozen=True, eq=False)
class Metadata:
    """What is kept beside the colours, without loss.

    Attributes:
        alpha: uint8 (height, width), 0 transparent to 255 opaque; None if all is opaque.
        icc: ICC profile, empty if there is none.
        exif: EXIF data, empty unless it was asked for.
        origin: first 12 bytes of a SHA-256 over source and options; empty unless a folder was
            converted, which must know its own files again.
    """

    alpha: NDArray[np.uint8] | None = None
    icc: bytes = b""
    exif: bytes = b""
    origin: bytes = b""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Metadata):
            return NotImplemented
        mine, others = ((m.icc, m.exif, m.origin) for m in (self, other))
        return mine == others and np.array_equal(self.alpha, other.alpha)  # type: ignore[arg-type]


NO_METADATA = Metadata()


def read_metadata(data: bytes) -> Metadata:
    """The metadata in the bytes of a `.mrdc` file; no codec is needed.

    Raises:
        BitstreamError: if the file is not readable up to the end of the maps.
    """
    header, (section, *_) = bitstream.unpack(data, levels=0)
    return unpack(section, header.height, header.width)


def check_alpha(metadata: Metadata, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless the transparency, if any, belongs to a picture of this shape."""
    alpha = metadata.alpha
    if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != shape[:2]):
        raise ValueError(
            f"transparency must be a uint8 array of shape {shape[:2]}, as the image has rows and "
            f"columns. Received: {alpha.dtype} {alpha.shape}."
        )


def pack(metadata: Metadata) -> bytes:
    """The bytes of the section; none if there is nothing to keep.

    Raises `ValueError` if profile or EXIF data are too large, or EXIF data cannot be read.
    """
    alpha = b""
    if metadata.alpha is not None:
        alpha = np.diff(metadata.alpha, axis=0, prepend=np.uint8(0)).tobytes()
    exif = without_layout(metadata.exif) if metadata.exif else b""
    section = b""
    contents = {b"A": alpha, b"I": metadata.icc, b"E": exif, b"O": metadata.origin}
    for letter, content in contents.items():
        if len(content) > LARGEST and letter != b"A":
            raise ValueError(
                f"a colour profile or camera data may have {LARGEST:,} bytes. "
                f"Received: {len(content):,}. Leave it out."
            )
        if content:
            payload = zlib.compress(content, 9)
            section += letter + write_varint(len(payload)) + payload
    return section


def unpack(section: bytes, height: int, width: int) -> Metadata:
    """Inverse of `pack` for a picture of this size; raises `BitstreamError`."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(section):
        letter = chr(section[at])
        length, at = read_varint(section, at + 1, "metadata section")
        if letter not in "AIEO" or letter in found or at + length > len(section):
            raise damaged("the metadata section holds an impossible chunk.")
        limit = height * width if letter == "A" else LARGEST
        found[letter] = _inflate(section[at : at + length], limit)
        at += length
    alpha = None
    if "A" in found:
        if len(found["A"]) != height * width:
            expected, received = height * width, len(found["A"])
            raise damaged(f"expected {expected} bytes of transparency. Received: {received}.")
        rows = np.frombuffer(found["A"], np.uint8).reshape(height, width)
        alpha = np.cumsum(rows, axis=0, dtype=np.uint8)
    return Metadata(alpha, *(found.get(letter, b"") for letter in "IEO"))


def _inflate(payload: bytes, limit: int) -> bytes:
    """Decompress at most `limit` bytes."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise damaged("the metadata section is damaged.") from error
    if len(content) > limit or not inflater.eof or inflater.unused_data:
        raise damaged(f"the metadata section unpacks to more than {limit} bytes or is cut off.")
    return content
